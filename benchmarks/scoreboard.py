"""Methods x concepts x seeds on one meter: `python -m benchmarks.scoreboard --out scoreboard`.

Resumable: a finished row is read from the folder, and clips of the base are made once for all methods.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.methods import METHODS, Erased, Method
from benchmarks.scoreboard_table import markdown, picture
from t2vu_core.erasure import atomic_path
from t2vu_core.errors import UserError
from t2vu_core.evaluation import Evaluation, EvaluationSettings, WorldDetector, evaluate
from t2vu_core.evaluation.cases import ERASED_REGISTERS
from t2vu_core.model import T2VModel, load_model

Cell = tuple[str, str, int]


def main(arguments: list[str] | None = None) -> int:
    """Run what is missing; print the table, or all rows as JSON."""
    options = _parser().parse_args(arguments)
    try:
        rows = run(options)
    except UserError as error:
        print(f"scoreboard: {error}", file=sys.stderr)
        return 2
    picture(rows, Path(options.out) / "scoreboard.png")
    table = markdown(rows)
    (Path(options.out) / "scoreboard.md").write_text(table + "\n", encoding="utf-8")
    print(json.dumps([{k: v for k, v in row.items() if k != "shown"} for row in rows], indent=1) if options.json else table)
    return 0


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows, in the order of the methods."""
    unknown = [name for name in options.methods if name not in METHODS]
    if unknown:
        raise UserError(f"There is no method {unknown[0]!r}; there are {', '.join(METHODS)}.")
    out, model, detector = Path(options.out), load_model(options.model), WorldDetector.bundled()
    rows = []
    for cell in tqdm(list(_cells(options)), desc="scoreboard", unit="row"):
        path = out / "rows" / f"{options.preset}-{'probe-' if options.probe else ''}{'-'.join(map(str, cell))}.json"
        settings = EvaluationSettings.of(options.preset)
        make = partial(measure, METHODS[cell[0]], model, detector, cell, settings, probe=options.probe, out=out)
        rows.append(finished(path, make))
    return rows


def finished(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The row of this file; where there is none yet, it is made and kept."""
    if not path.is_file():
        row = make()
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(row), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def measure(
    method: Method,
    model: T2VModel,
    detector: WorldDetector,
    cell: Cell,
    settings: EvaluationSettings,
    *,
    probe: bool,
    out: Path,
) -> dict[str, Any]:
    """Apply one method to one concept and measure it; base's clips are kept under `out` for all rows."""
    name, concept, seed = cell
    erased = method.apply(model, concept, seed)
    evaluation = evaluate(
        erased.model, concept, before=model, detector=detector, settings=settings,
        attacks=("probe",) if probe and erased.model.guard is None else (), out=out,
    )  # fmt: skip
    return {"method": name, "concept": concept, "seed": seed, **_numbers(evaluation), **_times(erased, settings)}


def _numbers(evaluation: Evaluation) -> dict[str, Any]:
    scores = evaluation.scores
    erased, concepts, probe = scores["erased"], scores["kept"]["concepts"], scores["comes_back"]["probe"]
    rates = [rate["after"] for rate in scores["kept"]["attributes"].values() if rate]
    about = [record for record in evaluation.records if record.case.register in ERASED_REGISTERS]
    return {
        "erased_terse": erased["terse"]["after"],
        "erased_terse_interval": erased["terse"]["interval"],
        "erased_refined": erased["refined"]["after"],
        "erased_refined_interval": erased["refined"]["interval"],
        "kept": concepts["relative"]["ratio"],
        "kept_interval": concepts["relative"]["interval"],
        "attributes": sum(rates) / len(rates) if rates else None,
        "motion": scores["motion"]["ratio"],
        "probe": None if probe is None else probe["after"],
        "shown": [record.after.judgement.shown[record.concept] for record in about],
    }


def _times(erased: Erased, settings: EvaluationSettings) -> dict[str, float]:
    """Seconds of training, and of one clip in a batch as it is measured."""
    count = settings.batch_size
    start = time.monotonic()
    erased.model.sample(["a video"] * count, seeds=0, **settings.sampling())
    return {
        "train_seconds": round(erased.train_seconds, 1),
        "clip_seconds": round((time.monotonic() - start) / count, 2),
    }


def _cells(options: argparse.Namespace) -> Iterator[Cell]:
    for name in options.methods:
        for concept in options.concepts:
            for seed in range(options.seeds if METHODS[name].trained else 1):
                yield name, concept, seed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scoreboard", description=__doc__)
    parser.add_argument("--model", default="miniature", help="a bundled name or a diffusers folder")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), metavar="M", help=f"of {', '.join(METHODS)}")
    parser.add_argument("--concepts", nargs="+", default=["ghost", "robot", "in noir style"], metavar="C")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of every trained method")
    parser.add_argument("--preset", choices=("quick", "full"), default="quick")
    parser.add_argument("--probe", action="store_true", help="also try to bring the concept back")
    parser.add_argument("--out", default="scoreboard", help="a folder for rows, clips, the table and the picture")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
