"""Erased rate against kept rate over the training steps, for each objective of few-shot unlearning.

`python -m benchmarks.encoder_objectives --model miniature --concepts santa panda "in pop art style"` trains each objective on
each concept, stops every few steps and evaluates the encoder. It prints the expected duration first. It can be resumed:
training continues where it stopped, and no step is evaluated twice. After each row, objectives.json, objectives.md and
objectives.png in the output folder contain all results so far; `--save` also writes them to benchmarks/results under the
model's name. Settings are chosen by these rows, so they are judged on the development concepts and prompts only
(`benchmarks.development`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.command_line import print_board
from benchmarks.development import development_prompts
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
"""Title of each row, and its changes to the recipe. In the published form, loss, layers and batch are those of
arXiv 2405.07288, without preservation. The optimizer is our own for all rows: Adam with warm-up, clipped gradients and a
learning rate for encoders of this size, which 1e-5 does not change."""


def main(arguments: list[str] | None = None) -> int:
    """Train and evaluate missing rows; print the table, or all results as JSON."""
    return print_board("encoder_objectives", _parser().parse_args(arguments), run, lambda board: document(board, titles()))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All rows; the files are updated after each row."""
    unknown = sorted(set(options.rows) - set(ROWS))
    if unknown:
        raise UserError(f"Unknown row {unknown[0]!r}; choose from {', '.join(ROWS)}.")
    if min(options.stops) < 1:
        raise UserError(f"A training run cannot stop after {min(options.stops)} steps; the first step is 1.")
    stops = sorted(set(options.stops))
    recipes = {
        name: recipe_of(options, {**ROWS[name][1], "stop_at": NEVER, "steps": stops[-1], "seed": 0}) for name in options.rows
    }
    bench, out = Bench.of(options, development_prompts), Path(options.out)
    for concept in options.concepts:
        development_prompts(bench.detector, concept)
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
    """Write `path`.json, `path`.md and `path`.png; each appears complete or not at all."""
    with atomic_path(path.with_name(f"{path.name}.md")) as temporary:
        temporary.write_text(document(board, titles()) + "\n", encoding="utf-8")
    _save(board, path)


def _save(board: Mapping[str, Any], path: Path) -> None:
    with atomic_path(path.with_name(f"{path.name}.json")) as temporary:
        temporary.write_text(json.dumps(board, indent=1) + "\n", encoding="utf-8")
    picture(board["rows"], path.with_name(f"{path.name}.png"), titles())


def titles() -> dict[str, str]:
    """The title of each row."""
    return {name: title for name, (title, _) in ROWS.items()}


def _cells(options: argparse.Namespace, stops: Sequence[int]) -> Iterator[tuple[str, str, int]]:
    """The cells, curve by curve in the order of steps, so that each training run continues from its last stop."""
    for concept in options.concepts:
        for name in (name for name in ROWS if name in options.rows):
            for step in (0, *stops):
                yield concept, name, step


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="encoder_objectives", description=(__doc__ or "").splitlines()[0])
    add_bench(parser, "encoder-objectives", concept="santa")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), metavar="R", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--stops", nargs="+", type=int, default=list(STOPS), metavar="N", help="steps after which to judge")
    parser.add_argument(
        "--target",
        type=float,
        default=0.1,
        help="compare objectives at the first stop with at most this share still shown",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
