"""Erased against kept over the steps, for every objective of few-shot unlearning.

`python -m benchmarks.encoder_objectives --model miniature --concepts ghost cat "in noir style"` trains each objective on
each concept, stops every few steps and judges the encoder with the meter. How long that takes is said first. Resumable: a
training goes on where it stopped, a judged step is judged once. After every row objectives.json, objectives.md and
objectives.png in the folder hold all that is there so far; `--save` puts them into benchmarks/results under the model's
name.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.encoder_rows import NEVER, Bench, add_bench, recipe_of
from benchmarks.encoder_table import document, picture
from t2vu_core.erasure import atomic_path
from t2vu_core.errors import UserError

RESULTS = Path(__file__).parent / "results"
STOPS = (5, 10, 20, 40, 60, 90, 120)
ROWS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ascent_published": (
        "ascent, as published",
        {"objective": "ascent", "trained": "mlp+last-attention", "batch": 2, "preserve_weight": 0.0, "preserve_batch": 0},
    ),
    "ascent": ("ascent, with preserve prompts", {"objective": "ascent"}),
    "ascent_trust_region": ("ascent in a trust region", {"objective": "ascent_trust_region"}),
    "anchor": ("anchor: the neutral prompt", {"objective": "anchor"}),
    "anchor_empty": ("anchor: the empty prompt", {"objective": "anchor", "reference": "empty"}),
    "negative_guidance": ("negative guidance", {"objective": "negative_guidance"}),
}
"""By name: how a row is called, and what it changes of the recipe. Loss, layers, batch, and that nothing is preserved, are the
published form's (arXiv 2405.07288). The optimiser is ours, the same for all rows: Adam with a warm start, clipped gradients
and a rate for these encoders, since 1e-5 moves none of this size."""


def main(arguments: list[str] | None = None) -> int:
    """Train and judge what is missing; print the table, or everything as JSON."""
    options = _parser().parse_args(arguments)
    try:
        board = run(options)
    except UserError as error:
        print(f"encoder_objectives: {error}", file=sys.stderr)
        return 2
    print(json.dumps(board, indent=1) if options.json else document(board, titles()))
    return 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All rows; the files are written after each of them."""
    unknown = sorted(set(options.rows) - set(ROWS))
    if unknown:
        raise UserError(f"There is no row {unknown[0]!r}; there are {', '.join(ROWS)}.")
    if min(options.stops) < 1:
        raise UserError(f"A training cannot stop after {min(options.stops)} steps; the first step is 1.")
    stops = sorted(set(options.stops))
    recipes = {
        name: recipe_of(options, {**ROWS[name][1], "stop_at": NEVER, "steps": stops[-1], "seed": 0}) for name in options.rows
    }
    bench, out = Bench.of(options), Path(options.out)
    board: dict[str, Any] = {**bench.describe(), "preset": options.preset, "target": options.target, "rows": []}
    cells = list(_cells(options, stops))
    bench.tell({(recipes[name] if step else None, concept, step) for concept, name, step in cells})
    for concept, name, step in tqdm(cells, desc="objectives", unit="row"):
        row = bench.base_row(concept) if step == 0 else bench.row(concept, recipes[name], step)
        board["rows"].append({**row, "method": name, "step": step})
        write(board, out / "objectives")
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        _save(board, RESULTS / f"encoder_objectives-{bench.model.name}")
    return board


def write(board: Mapping[str, Any], path: Path) -> None:
    """`path`.json, `path`.md and `path`.png, each whole."""
    with atomic_path(path.with_name(f"{path.name}.md")) as temporary:
        temporary.write_text(document(board, titles()) + "\n", encoding="utf-8")
    _save(board, path)


def _save(board: Mapping[str, Any], path: Path) -> None:
    with atomic_path(path.with_name(f"{path.name}.json")) as temporary:
        temporary.write_text(json.dumps(board, indent=1) + "\n", encoding="utf-8")
    picture(board["rows"], path.with_name(f"{path.name}.png"), titles())


def titles() -> dict[str, str]:
    """How every row is called."""
    return {name: title for name, (title, _) in ROWS.items()}


def _cells(options: argparse.Namespace, stops: Sequence[int]) -> Iterator[tuple[str, str, int]]:
    """Curve by curve, in the order of its steps, so that every training goes on from its last stop."""
    for concept in options.concepts:
        for name in (name for name in ROWS if name in options.rows):
            for step in (0, *stops):
                yield concept, name, step


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="encoder_objectives", description=(__doc__ or "").splitlines()[0])
    add_bench(parser, "encoder-objectives")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), metavar="R", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--stops", nargs="+", type=int, default=list(STOPS), metavar="N", help="steps after which to judge")
    parser.add_argument(
        "--target", type=float, default=0.1, help="the table compares the objectives where no more than this share is shown"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
