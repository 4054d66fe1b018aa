"""The effect of the training seed: the same few-shot unlearning with several seeds, each evaluated.

`python -m benchmarks.encoder_spread --model miniature --concepts ghost --seeds 10` prints the expected duration first. It
can be resumed. spread.json in the output folder contains the rows; the printed line gives the spread and the seconds of a
run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.command_line import print_board
from benchmarks.encoder_rows import Bench, add_bench, measuring_prompts, recipe_of
from t2vu_core.erasure import atomic_path
from t2vu_core.errors import UserError
from t2vu_core.evaluation.report.wording import percent

RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Train and evaluate missing rows; print the spread, or all results as JSON."""
    return print_board("encoder_spread", _parser().parse_args(arguments), run, lambda board: str(board["spoken"]))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One row per seed and concept, and their summary; the file is updated after each row."""
    if options.seeds < 1:
        raise UserError(f"--seeds must be at least 1, not {options.seeds}.")
    recipes = [recipe_of(options, {"seed": seed}) for seed in range(options.seeds)]
    bench, rows = Bench.of(options, measuring_prompts), []
    cells = [(concept, recipe) for concept in options.concepts for recipe in recipes]
    bench.tell((recipe, concept, None) for concept, recipe in cells)
    for concept, recipe in tqdm(cells, desc="seeds", unit="row"):
        rows.append(bench.row(concept, recipe))
        board = {**bench.describe(), "recipe": recipes[0].describe(), "spread": spread(rows), "rows": rows}
        board["spoken"] = spoken(board)
        _write(board, Path(options.out) / "spread.json")
    if options.save:
        _write(board, RESULTS / f"encoder_spread-{bench.model.name}.json")
    return board


def spread(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean, minimum, maximum and standard deviation over the rows, and the number of diverged runs.

    Seconds are those of a whole run, including its shots.
    """
    good = [row for row in rows if not row["diverged"]]
    shares = [sum(row["shown"]) / len(row["shown"]) for row in good]
    kept = [row["kept"] for row in good if row["kept"] is not None]
    return {
        "trainings": len(rows),
        "diverged": len(rows) - len(good),
        "seconds": _course([row["train_seconds"] for row in good]),
        "shown": _course(shares),
        "kept": _course(kept),
    }


def spoken(board: Mapping[str, Any]) -> str:
    """The summary as one line of a document."""
    found = board["spread"]
    concepts = ", ".join(dict.fromkeys(row["concept"] for row in board["rows"]))
    ended = "none diverged" if not found["diverged"] else f"{found['diverged']} diverged"
    seconds = found["seconds"]
    lasted = "" if seconds is None else f"; a run with its shots took {seconds['low']:.0f} to {seconds['high']:.0f} s"
    return (
        f"{found['trainings']} trainings on {board['model']} against {concepts}, each with a seed of its own: still shown "
        f"{_say(found['shown'])}, other concepts kept {_say(found['kept'])}{lasted}; {ended}."
    )


def _course(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {
        "mean": statistics.fmean(values),
        "low": min(values),
        "high": max(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
    }


def _say(course: Mapping[str, float] | None) -> str:
    if course is None:
        return "not known"
    points = f"{100 * course['deviation']:.1f} points of standard deviation"
    return f"{percent(course['mean'])} ({percent(course['low'])} to {percent(course['high'])}, {points})"


def _write(board: Mapping[str, Any], path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(board, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="encoder_spread", description=(__doc__ or "").splitlines()[0])
    add_bench(parser, "encoder-spread")
    parser.add_argument("--seeds", type=int, default=10, help="training runs per concept")
    return parser


if __name__ == "__main__":
    sys.exit(main())
