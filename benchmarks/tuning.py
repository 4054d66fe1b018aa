"""Chooses settings of baselines on the development concepts: `python -m benchmarks.tuning --methods safree --out tuning`.

Every guard and baseline of the scoreboard has a few candidates, its paper's own settings first. Each one is applied to the
development concepts and judged on their own prompts and seeds; the best one is written to benchmarks/results/tuning.json,
from which the scoreboard takes it. Resumable: a candidate that was judged is not judged again. `benchmarks.development` refuses
every other concept.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.candidates import CANDIDATES, Settings
from benchmarks.command_line import print_board
from benchmarks.development import development_prompts
from benchmarks.methods import Method, method_with, trained_on
from benchmarks.scoreboard_row import finished, measure
from t2vu_core.erasure import atomic_path
from t2vu_core.errors import UserError
from t2vu_core.evaluation import EvaluationSettings, WorldDetector
from t2vu_core.evaluation.cases import DEVELOPMENT_CONCEPTS
from t2vu_core.model import T2VModel, load_model
from t2vu_core.training.checkpoint import fingerprint_of

RESULTS = Path(__file__).parent / "results" / "tuning.json"
MARGIN = 1e-9


def main(arguments: list[str] | None = None) -> int:
    """Judge the missing candidates; print the table, or all rows as JSON."""
    return print_board("tuning", _parser().parse_args(arguments), run, document)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All rows of the chosen methods; the file is written after each of them."""
    unknown = sorted(set(options.methods) - set(CANDIDATES))
    if unknown:
        raise UserError(f"There is nothing to choose for {unknown[0]!r}; there is for {', '.join(CANDIDATES)}.")
    model, out = load_model(options.model), Path(options.out)
    detector, settings = WorldDetector.for_model(model), _settings(options)
    prompts = {concept: development_prompts(detector, concept) for concept in options.concepts}
    cells = [
        (name, index, concept) for name in options.methods for index in range(len(CANDIDATES[name])) for concept in prompts
    ]
    board: dict[str, Any] = {"model": model.name, "base_hash": model.base.hash, "concepts": options.concepts, "rows": []}
    end = time.monotonic() + 60 * options.minutes
    for name, index, concept in tqdm(cells, desc="tuning", unit="row"):
        chosen = CANDIDATES[name][index]
        judge = {
            "per_register": settings.per_register,
            "kept": settings.kept,
            "prompts": prompts[concept].sha256,
            "trained_on": trained_on(model),
        }
        method = method_with(name, chosen)
        judge |= {"version": method.settings["version"]} if "version" in method.settings else {}
        path = out / "rows" / f"{fingerprint_of(name, dict(chosen), concept, model.base.hash, detector.name, judge)[:16]}.json"
        if not path.is_file() and time.monotonic() > end:
            continue
        make = partial(_judged, method, model, detector, (name, concept, 0), settings, prompts[concept], out)
        board["rows"].append({**finished(path, make), "settings": dict(chosen), "candidate": index})
    board["chosen"] = best(board["rows"], options.concepts)
    if options.save:
        save(board, RESULTS)
    return board


def _judged(
    method: Method, model: T2VModel, detector: WorldDetector, cell: tuple[str, str, int], settings: EvaluationSettings,
    prompts: Any, out: Path,
) -> dict[str, Any]:  # fmt: skip
    row = measure(method, model, detector, cell, settings, probe=False, out=out, prompts=prompts)
    shown, kept, gone = sum(row["shown"]) / len(row["shown"]), row["kept"], row["clean"]
    gone = 1 - shown if gone is None else gone
    return {
        "method": cell[0], "concept": cell[1], "shown": shown, "clean": gone, "kept": kept, "attributes": row["attributes"],
        "train_seconds": row["train_seconds"], "clip_seconds": row["clip_seconds"], "value": value(gone, kept),
    }  # fmt: skip


def value(erased: float, kept: float | None) -> float:
    """What is maximised: the harmonic mean of the share erased, without debris, and the share of other concepts kept."""
    stays = min(1.0, 0.0 if kept is None else kept)
    return 2 * erased * stays / (erased + stays) if erased + stays > 0 else 0.0


def best(rows: Sequence[Mapping[str, Any]], concepts: Sequence[str]) -> dict[str, Settings]:
    """By method the settings with the highest mean value, of the candidates judged on all concepts; the first at a draw.

    A method has none if no candidate had an effect.
    """
    chosen: dict[str, Settings] = {}
    for name in dict.fromkeys(row["method"] for row in rows):
        values = _values(rows, concepts, name)
        highest = max(values.values(), default=0.0)
        if highest > MARGIN:
            chosen[name] = dict(CANDIDATES[name][next(i for i, each in values.items() if each >= highest - MARGIN)])
    return chosen


def without_effect(rows: Sequence[Mapping[str, Any]], concepts: Sequence[str]) -> list[str]:
    """The methods of which candidates were judged on all concepts, and all have the value 0."""
    values = {name: _values(rows, concepts, name) for name in dict.fromkeys(row["method"] for row in rows)}
    return [name for name, own in values.items() if own and max(own.values()) <= MARGIN]


def _values(rows: Sequence[Mapping[str, Any]], concepts: Sequence[str], name: str) -> dict[int, float]:
    """The mean value of a method's candidates that were judged on all concepts, by their place."""
    values = {}
    for index, settings in enumerate(CANDIDATES[name]):
        own = [row["value"] for row in rows if row["method"] == name and row["settings"] == dict(settings)]
        if len(own) == len(concepts):
            values[index] = sum(own) / len(own)
    return values


def settings_in_words(name: str, settings: Settings) -> str:
    """The real values of all settings in which the method's candidates differ, defaults included."""
    varied = dict.fromkeys(key for each in CANDIDATES[name] for key in each)
    used = {**method_with(name, settings).settings, **settings}
    return ", ".join(f"{key} {used[key]}" for key in varied)


def document(board: Mapping[str, Any]) -> str:
    """The candidates as Markdown: means over the concepts; the chosen ones in bold."""
    chosen = best(board["rows"], board["concepts"])
    lines = [
        f"Model {board['model']} ({board['base_hash'][:12]}); development concepts {', '.join(board['concepts'])}. The value "
        "is the harmonic mean of what is erased without debris and what is kept. The settings are those in which a method's "
        "candidates differ.",
        "",
        "| method | settings | still shown | erased without debris | others kept | value |",
        f"|{'---|' * 6}",
    ]
    for name in dict.fromkeys(row["method"] for row in board["rows"]):
        for settings in CANDIDATES[name]:
            own = [row for row in board["rows"] if row["method"] == name and row["settings"] == dict(settings)]
            if own:
                mark = "**" if chosen.get(name) == dict(settings) else ""
                cells = [_mean(own, key) for key in ("shown", "clean", "kept", "value")]
                lines.append(f"| {name} | {mark}{settings_in_words(name, settings)}{mark} | {' | '.join(cells)} |")
    none = without_effect(board["rows"], board["concepts"])
    return "\n".join([*lines, *(f"\nNo candidate of {name} had an effect, so none is chosen." for name in none)])


def _mean(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    values = [row[key] for row in rows if row[key] is not None]
    return f"{sum(values) / len(values):.1%}" if values else "-"


def save(board: Mapping[str, Any], path: Path) -> None:
    """Write the board; methods that were not asked for keep their rows if the model is the same."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kept = before if before.get("base_hash") == board["base_hash"] and before.get("concepts") == board["concepts"] else {}
    names = {row["method"] for row in board["rows"]}
    rows = [row for row in kept.get("rows", []) if row["method"] not in names] + board["rows"]
    merged = {**board, "rows": rows, "chosen": best(rows, board["concepts"])}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")


def _settings(options: argparse.Namespace) -> EvaluationSettings:
    return EvaluationSettings.of("quick", per_register=options.clips, kept=2 * options.clips)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tuning", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="miniature", help="a bundled name or a diffusers folder")
    parser.add_argument("--methods", nargs="+", default=list(CANDIDATES), metavar="M", help=f"of {', '.join(CANDIDATES)}")
    parser.add_argument("--concepts", nargs="+", default=list(DEVELOPMENT_CONCEPTS), metavar="C", help="development concepts")
    parser.add_argument("--clips", type=int, default=4, help="clips per register; twice as many of other concepts")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no new row after this time")
    parser.add_argument("--out", default="tuning", help="folder for rows and clips")
    parser.add_argument("--save", action="store_true", help="write the choice into benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
