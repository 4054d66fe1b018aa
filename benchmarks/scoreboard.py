"""Methods x concepts x seeds under one evaluation: `python -m benchmarks.scoreboard --out scoreboard`.

Resumable: finished rows are kept in the folder, and every call adds its rows to scoreboard.json, the table and the picture
there. A row is valid as long as the model's weights, the method's settings and the evaluation settings are the same. Clips of
the base and attacks on it are made once for all methods. A row that fails is left out, and the exit code is 1. `--save` also
writes the JSON and the picture into benchmarks/results after each row; a call in another checkout
does not make these rows again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks import regrowth_controls
from benchmarks.board_plan import (
    CLIPS,
    FEWER_CONCEPTS,
    KEPT_TURNS,
    NEVER_KNEW_CONCEPTS,
    REGROWTH_STEPS,
    TEST_CONCEPTS,
    Cell,
    attacks_on,
    has_further_runs,
    is_regrown,
    settings_for,
    trainings,
)
from benchmarks.methods import METHODS, NEVER_KNEW, Method, methods, never_knew, trained_on
from benchmarks.scoreboard_numbers import with_best_stop
from benchmarks.scoreboard_progress import cost, hours, threads_of
from benchmarks.scoreboard_row import finished, measure, regrowth_control
from benchmarks.scoreboard_table import markdown, picture
from benchmarks.scoreboard_time import RowTimes
from t2vu_core.erasure import atomic_path
from t2vu_core.errors import UserError
from t2vu_core.evaluation import Detector, EvaluationSettings, WorldDetector
from t2vu_core.evaluation.attacks.clip_start import DEPTHS
from t2vu_core.evaluation.cases import PromptSet, built_in, development_concepts, turned
from t2vu_core.evaluation.checks import resolve
from t2vu_core.evaluation.detectors import world_of_model
from t2vu_core.evaluation.progress_bar import evaluation_bar
from t2vu_core.evaluation.second_judge.detector import TwoJudges
from t2vu_core.evaluation.second_judge.probe import probe_path
from t2vu_core.evaluation.second_judge.weights import is_installed
from t2vu_core.evaluation.session import CURVE
from t2vu_core.model import T2VModel, load_model
from t2vu_core.recipes import PRESETS
from t2vu_core.training.checkpoint import fingerprint_of

RESULTS = Path(__file__).parent / "results"
# Rows of another format are made again.
ROW_FORMAT = 8
NOT_PRINTED = ("key", "counts", "shown", "kept_shown", "kept_before")
"""Results per clip, which only scoreboard.json holds."""
FIELDS = (
    "method", "concept", "training_seed", "erased_terse", "erased_refined", "erased_any_frame", "kept", "neighbours",
    "attributes", "natural", "debris", "probe", "probe_strong", "clip_start", "regrowth", "judge2_erased", "train_seconds",
    "train_memory_mib", "clip_seconds",
)  # fmt: skip
"""What every printed row has, whatever else it has; None where it was not measured."""


def main(arguments: list[str] | None = None) -> int:
    """Make the missing rows; print the table, or all rows as JSON."""
    options = _parser().parse_args(arguments)
    try:
        board = run(options)
    except UserError as error:
        print(f"scoreboard: {error}", file=sys.stderr)
        return 2
    print(json.dumps([printed(row) for row in board["rows"]], indent=1) if options.json else markdown(board["rows"]))
    for failure in board["failed"]:
        print(f"scoreboard: {failure}", file=sys.stderr)
    return 1 if board["failed"] else 0


def judges_for(model: T2VModel, wanted: bool | None) -> Detector:
    """Both judges if they are wanted, or possible where nothing was said; else the world's detector."""
    possible = is_installed() and probe_path(world_of_model(model)).is_file()
    return (TwoJudges if (possible and wanted is None) or wanted else WorldDetector).for_model(model)


def printed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it is printed, with all of `FIELDS`; `erased_...` and `judge2_erased` are shares that still show the concept."""
    return {**dict.fromkeys(FIELDS), **{name: value for name, value in row.items() if name not in NOT_PRINTED}}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Make the requested rows that are missing; returns all valid rows in the folder."""
    if options.saved:
        saved = RESULTS / f"{saved_name(options.model)}.json"
        if not saved.is_file():
            raise UserError(f"The board of {options.model} has not been measured; measure it with --save.")
        return {"failed": [], **json.loads(saved.read_text(encoding="utf-8"))}
    rows_of = _methods(options)
    out, model = Path(options.out), load_model(options.model)
    detector = judges_for(model, options.two_judges)
    options.concepts = list(dict.fromkeys(_as_planned(detector, concept) for concept in options.concepts))
    for concept in options.concepts:
        if resolve(detector, concept) in development_concepts(world_of_model(model).prompt_sets):
            raise UserError(f"Settings were chosen on {concept!r}, so it is not measured here; name another concept.")
    settings = _settings(options)
    key = partial(_digest, rows_of, model, settings, detector)
    saved = RESULTS / f"{saved_name(model.name)}.json"
    restore(saved, out)
    board: dict[str, Any] = {**_head(model, settings, options), "failed": [], "rows": collect(out, key)}
    if options.save:
        _check_saved(saved, board)
    for concept in _without_model(rows_of, options):
        _say(f"never_knew {concept}: left out; name a model that was trained without it with --never-knew.")
    started = time.monotonic()
    paths = {cell: out / "rows" / f"{key(cell, options.probe)}.json" for cell in _cells(rows_of, options)}
    missing = [cell for cell, path in paths.items() if not path.is_file()]
    times = RowTimes(model, settings, probe=options.probe) if missing else None
    if times is not None:
        _say(f"{len(missing)} rows to make: {times.say(missing, rows_of, board['rows'])}.")
    if options.estimate:
        rest = times.seconds(missing, board["rows"]) * torch.get_num_threads() / 3600 if times else 0.0
        _say(f"{cost(hours(board['rows'], threads_of(saved, board)), rest)}, by the cores in use.")
        return board
    for place, cell in enumerate(bar := tqdm(missing, desc="scoreboard", unit="row")):
        if options.minutes is not None and time.monotonic() - started > 60 * options.minutes:
            _say("Time is up; call again to continue.")
            break
        bar.set_postfix_str(" ".join(map(str, cell)))
        assert times is not None
        left = missing[place:]
        this, all_left = (times.say(cells, rows_of, board["rows"]) for cells in (left[:1], left))
        _say(f"{' '.join(map(str, cell))}: {this}; rows to make: {len(left)}, {all_left}.")
        with evaluation_bar() as on_progress:
            asked: dict[str, Any] = {"prompts": prompts_of(model, detector, cell[1]), "on_progress": on_progress}
            make = partial(measure, rows_of[cell[0]], model, detector, cell, settings, out=out, **asked)
            failure = _attempt(partial(finished, paths[cell], partial(make, probe=options.probe)), cell)
            if options.probe and failure is None:
                control = partial(regrowth_control, model, detector, cell, settings, out, asked["prompts"])
                failure = _attempt(partial(regrowth_controls.keep, out, paths[cell].stem, control), cell)
        board["failed"] += [failure] if failure else []
        board["rows"] = collect(out, key)
        _keep(board, out, options)
    _keep(board, out, options)
    return board


def _keep(board: dict[str, Any], out: Path, options: argparse.Namespace) -> None:
    """Write what is measured so far; with --save into benchmarks/results too, so that a killed call loses one row at most."""
    write(board, out)
    if options.save:
        save(board, RESULTS, saved_name(board["model"]))


def _as_planned(detector: Detector, concept: str) -> str:
    """The plan's words for a concept, so that "noir style" and "in noir style" have the same rows; others stay as they are."""
    name = resolve(detector, concept)
    return next((planned for planned in TEST_CONCEPTS if detector.resolve(planned) == name), concept)


def _check_saved(saved: Path, board: Mapping[str, Any]) -> None:
    """Raises UserError if the saved board was measured otherwise: its rows would be lost."""
    if not saved.is_file():
        return
    before = json.loads(saved.read_text(encoding="utf-8"))
    other = next((name for name in ("meter", "training") if before.get(name) != board[name]), None)
    if other is not None and before.get("base_hash") == board["base_hash"]:
        raise UserError(
            f"The saved board has another {other} ({before.get(other)}), and --save would replace its rows; measure the same, "
            f"or leave out --save, or remove {saved.name}."
        )


def _attempt(make: Callable[[], object], cell: Cell) -> str | None:
    """Make a row or its control; returns the reason if that fails, so that the other rows are still made."""
    try:
        make()
    except Exception as error:
        failure = f"{' '.join(map(str, cell))} failed: {type(error).__name__}: {error}"
        _say(failure)
        return failure
    return None


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


def collect(out: Path, key: Callable[..., str]) -> list[dict[str, Any]]:
    """The valid rows in the folder, in the order of the methods; a row with the attack replaces one without."""
    found: dict[Cell, dict[str, Any]] = {}
    for path in sorted((out / "rows").glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        cell = row["method"], row["concept"], row["training_seed"]
        names = [key(cell, probe, row["model_hash"]) for probe in (True, False)]
        if path.stem in names and (row["probe"] is not None or cell not in found):
            found[cell] = with_best_stop({**row, "key": path.stem})
    order = list(METHODS)
    return sorted(found.values(), key=lambda row: (order.index(row["method"]), row["concept"], row["training_seed"]))


def restore(saved: Path, out: Path) -> None:
    """Put the rows of a saved board into the folder, so that a fresh checkout goes on where another one stopped."""
    if not saved.is_file():
        return
    (out / "rows").mkdir(parents=True, exist_ok=True)
    board = json.loads(saved.read_text(encoding="utf-8"))
    regrowth_controls.restore(board, out)
    for row in board["rows"]:
        path = out / "rows" / f"{row.get('key')}.json"
        if "key" in row and not path.is_file():
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(row), encoding="utf-8")


def write(board: dict[str, Any], out: Path) -> None:
    """Write scoreboard.json, scoreboard.md and scoreboard.png, with the controls of the rows."""
    board |= regrowth_controls.collect(out, board["rows"])
    save(board, out)
    with atomic_path(out / "scoreboard.md") as temporary:
        temporary.write_text(markdown(board["rows"]) + "\n", encoding="utf-8")


def saved_name(model: str) -> str:
    """What the saved board of a model is called: scoreboard, or scoreboard-NAME for another model than the first."""
    return "scoreboard" if model == "miniature" else f"scoreboard-{model}"


def save(board: Mapping[str, Any], folder: Path, name: str = "scoreboard") -> None:
    """Write NAME.json, and NAME.png if there are rows."""
    # The reasons for failures may name folders of this machine, so they are printed and not saved.
    kept = {name: value for name, value in board.items() if name != "failed"}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if board["rows"]:
        picture(board["rows"], folder / f"{name}.png")


def _head(model: T2VModel, settings: EvaluationSettings, options: argparse.Namespace) -> dict[str, Any]:
    """The facts that all rows of a board share."""
    return {
        "model": model.name,
        "base_hash": model.base.hash,
        "meter": _meter(settings),
        "training": {"preset": options.training, "cut_to_steps": options.train_steps},
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": model.family.device.type,
            "torch": torch.__version__,
        },
    }


def _meter(settings: EvaluationSettings) -> dict[str, Any]:
    clips = {"per_register": settings.per_register, "kept": settings.kept, "rounds": settings.rounds}
    return {**settings.sampling(), **clips, "attack_steps": settings.attack_steps}


def _digest(
    rows_of: Mapping[str, Method],
    model: T2VModel,
    settings: EvaluationSettings,
    detector: Detector,
    cell: Cell,
    probe: bool,
    measured: str | None = None,
) -> str:
    """The name of a row's file, which depends on everything that decides the row.

    `measured` is the hash of the model that a row was measured on, so that the row of a model that never knew the concept stays
    valid when that model is not named again.
    """
    name, concept, seed = cell
    own: Any = rows_of[name].settings if name in rows_of else None
    if name == NEVER_KNEW and own is not None:
        own = own.get(concept, measured)
    prompts = prompts_of(model, detector, concept)
    meter = {**_meter(settings), "attack_clips": settings.attack_clips, "detector": detector.name}
    meter |= {"second_judge": is_installed(), "trained_on": trained_on(model)}
    asked = [prompts.name, prompts.sha256] if prompts else None
    if model.family.device.type != "cpu":
        meter |= {"device": model.family.device.type}
    probe = probe and bool(attacks_on(cell))
    if probe:
        strong = settings_for(cell, settings)
        meter |= {"attacks": attacks_on(cell), "probe": [strong.probe_steps, strong.probe_starts], "curve": CURVE}
        meter |= {"depths": DEPTHS, "regrown": REGROWTH_STEPS if is_regrown(cell) else None}
    return fingerprint_of(ROW_FORMAT, name, own, concept, seed, model.base.hash, meter, asked, probe)[:16]


def prompts_of(model: T2VModel, detector: Detector, concept: str) -> PromptSet | None:
    """The prompts that a concept's rows are measured with: its own, and prompts to keep that other concepts do not have."""
    prompts = built_in(resolve(detector, concept), world_of_model(model).prompt_sets)
    if prompts is None or concept not in TEST_CONCEPTS:
        return prompts
    return turned(prompts, TEST_CONCEPTS.index(concept) % KEPT_TURNS)


def _methods(options: argparse.Namespace) -> dict[str, Method]:
    """The methods by name, including models that never knew a concept."""
    found = methods(options.training, options.train_steps)
    folders = dict(_concept_and_folder(text) for text in options.never_knew)
    if folders:
        hashes = {concept: load_model(folder).base.hash for concept, folder in folders.items()}
        found[NEVER_KNEW] = Method(found[NEVER_KNEW].title, never_knew(folders), settings=hashes)
    unknown = [name for name in options.methods if name not in found]
    if unknown:
        raise UserError(f"There is no method {unknown[0]!r}; there are {', '.join(found)}.")
    return found


def _concept_and_folder(text: str) -> tuple[str, str]:
    concept, separator, folder = text.partition("=")
    if not separator or not concept or not folder:
        raise UserError(f"--never-knew takes CONCEPT=FOLDER, for example ghost=without-ghost, not {text!r}.")
    return concept, folder


def _settings(options: argparse.Namespace) -> EvaluationSettings:
    asked = {
        "per_register": options.clips,
        "kept": options.kept_clips,
        "num_inference_steps": options.steps,
        "attack_steps": options.attack_steps,
    }
    planned = CLIPS if options.preset == "quick" else {}
    given = {name: value for name, value in asked.items() if value is not None}
    return EvaluationSettings.of(options.preset, **{**planned, **given})


def _without_model(rows_of: Mapping[str, Method], options: argparse.Namespace) -> list[str]:
    """The concepts whose row of a model that never knew them is planned, but for which no such model is named."""
    wanted = NEVER_KNEW_CONCEPTS if NEVER_KNEW in options.methods else ()
    return [each for each in options.concepts if each in wanted and each not in rows_of[NEVER_KNEW].settings]


def _cells(rows_of: Mapping[str, Method], options: argparse.Namespace) -> Iterator[Cell]:
    """The first training run of every method concept by concept, then the second: an interrupted run has whole comparisons."""
    counts = {name: (options.seeds or trainings(name)) if rows_of[name].trained else 1 for name in options.methods}
    for seed in range(max(counts.values(), default=0)):
        for concept in options.concepts:
            for name in options.methods:
                known = name != NEVER_KNEW or concept in rows_of[name].settings
                planned = name == NEVER_KNEW or concept in FEWER_CONCEPTS.get(name, options.concepts)
                again = seed == 0 or options.seeds or has_further_runs(name, concept)
                if known and planned and again and seed < counts[name]:
                    yield name, concept, seed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scoreboard", description=__doc__)
    parser.add_argument("--model", default="miniature", help="a bundled name or a diffusers folder")
    parser.add_argument("--methods", type=_words, default=list(METHODS), metavar="M,M", help=f"of {', '.join(METHODS)}")
    parser.add_argument("--concepts", type=_words, default=list(TEST_CONCEPTS), metavar="C,C")
    parser.add_argument("--seeds", type=int, metavar="N", help="training runs per trained method; default: the plan's")
    parser.add_argument("--training", choices=PRESETS, default="balanced", help="the preset of our recipes")
    parser.add_argument("--preset", choices=("quick", "full"), default="quick", help="how much is measured")
    parser.add_argument("--clips", type=int, metavar="N", help="clips per register; default: the plan's or the preset's")
    parser.add_argument("--kept-clips", type=int, metavar="N", help="clips of other concepts; default: likewise")
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps of a measured clip; default: from the preset")
    parser.add_argument("--probe", action="store_true", help="also try to bring the concept back")
    parser.add_argument("--attack-steps", type=int, metavar="N", help="steps of that attack; default: from the preset")
    parser.add_argument("--train-steps", type=int, metavar="N", help="cut every training run to N steps, to try the command")
    parser.add_argument(
        "--never-knew", action="append", default=[], metavar="C=DIR",
        help="a model that never knew concept C, made by `t2vu miniature build --without C`; repeatable",
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, metavar="M", help="start no row after M minutes; call again to continue")
    parser.add_argument("--out", default="scoreboard", help="folder for rows, clips, the table and the picture")
    parser.add_argument("--save", action="store_true", help="also write the results into benchmarks/results")
    parser.add_argument(
        "--two-judges", action=argparse.BooleanOptionalAction,
        help="have a second judge look at the same clips; default: if it is installed and knows the model's world",
    )  # fmt: skip
    parser.add_argument("--estimate", action="store_true", help="only say how long the missing rows will take")
    parser.add_argument("--saved", action="store_true", help="make nothing; print the rows in benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    return parser


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


if __name__ == "__main__":
    sys.exit(main())
