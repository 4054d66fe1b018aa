"""How much of an encoder's unlearning on images carries over to video.

`python -m benchmarks.encoder_transfer --model miniature-unet --concepts ghost cat "in noir style"` trains each concept
through the image model that shares the encoder, and generates the evaluation's prompts and seeds with both models. It
prints the expected duration of the clips first; images take less. It can be resumed. encoder_transfer-MODEL.json in the
output folder contains the rows; the printed table compares them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.encoder_rows import Bench, add_bench, measuring_prompts, recipe_of
from benchmarks.scoreboard_row import finished
from t2vu_core.erasure import Erasure, atomic_path
from t2vu_core.errors import UserError
from t2vu_core.evaluation.cases import KEPT, Case, built_in
from t2vu_core.evaluation.checks import resolve
from t2vu_core.evaluation.report.wording import percent
from t2vu_core.image_model import ImageModel
from t2vu_core.model import AppliedErasure
from t2vu_core.text_encoders import encoder_sites

RESULTS = Path(__file__).parent / "results"
HEAD = (
    "concept", "images before", "images after", "video after", "others on images", "others on video", "video, synonyms",
    "video, refined",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Train and evaluate missing rows; print the table, or all results as JSON."""
    options = _parser().parse_args(arguments)
    try:
        board = run(options)
    except UserError as error:
        print(f"encoder_transfer: {error}", file=sys.stderr)
        return 2
    print(json.dumps(board, indent=1) if options.json else document(board))
    for text in board["diverged"]:
        print(f"encoder_transfer: {text}", file=sys.stderr)
    return 1 if board["diverged"] else 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One row per concept; the file is updated after each row."""
    bench, recipe = Bench.of(options, measuring_prompts), recipe_of(options, {})
    image_model = bench.image_model
    if image_model is None:
        raise UserError(f"{bench.model.name} has no image model that shares its text encoder; miniature-unet has one.")
    board: dict[str, Any] = {**bench.describe(), "recipe": recipe.describe(), "diverged": [], "rows": []}
    bench.tell((recipe, concept, None) for concept in options.concepts)
    for concept in tqdm(options.concepts, desc="concepts", unit="row"):
        video = bench.row(concept, recipe)
        if video["diverged"]:
            board["diverged"].append(f"The training against {concept!r} diverged: {video['diverged']}")
            continue
        path = bench.out / "images" / f"{bench.digest(recipe, concept)}.json"
        images = finished(path, partial(measure_images, bench, image_model, concept, bench.encoder_at(concept, recipe, None)))
        board["rows"].append({"concept": concept, "images": images, "video": video})
        _write(board, Path(options.out))
    if options.save:
        _write(board, RESULTS)
    return board


def _write(board: Mapping[str, Any], folder: Path) -> None:
    with atomic_path(folder / f"encoder_transfer-{board['model']}.json") as temporary:
        temporary.write_text(json.dumps(board, indent=1) + "\n", encoding="utf-8")


def measure_images(bench: Bench, image_model: ImageModel, concept: str, erasure: Erasure) -> dict[str, list[bool]]:
    """Whether each image shows its concept, for prompts of the concept and of other concepts."""
    name = resolve(bench.detector, concept)
    prompts = built_in(name)
    if prompts is None:
        raise UserError(f"No prompt set for {name!r} ships with the package.")
    cases = prompts.first(bench.settings.per_register, bench.settings.kept, bench.settings.rounds).cases
    applied = AppliedErasure(erasure, 1.0)
    shown: dict[str, list[bool]] = {}
    for when in ("before", "after"):
        on = applied.attached(encoder_sites(image_model.text)) if when == "after" else contextlib.nullcontext()
        with image_model.lock, on:
            judged = _judge(bench, image_model, cases)
        shown[when] = [yes for case, yes in zip(cases, judged, strict=True) if case.register != KEPT]
        shown[f"kept_{when}"] = [yes for case, yes in zip(cases, judged, strict=True) if case.register == KEPT]
    return shown


def _judge(bench: Bench, image_model: ImageModel, cases: Sequence[Case]) -> list[bool]:
    """Whether each image shows its case's concept; never for prompts that name no subject."""
    shown = []
    for first in range(0, len(cases), bench.settings.batch_size):
        some = cases[first : first + bench.settings.batch_size]
        images = image_model.sample(
            [case.prompt for case in some], seeds=[case.seed for case in some],
            num_inference_steps=bench.settings.num_inference_steps, guidance_scale=bench.settings.guidance_scale,
        )  # fmt: skip
        names = [bench.detector.resolve(case.concept) if case.concept else None for case in some]
        judgements = bench.detector.judge(images[:, None], sorted({name for name in names if name}))
        shown += [bool(name and each.shown[name]) for name, each in zip(names, judgements, strict=True)]
    return shown


def document(board: Mapping[str, Any]) -> str:
    """The table with a heading line that describes the measurement."""
    head = (
        f"On {board['model']} ({board['base_hash'][:12]}), trained through {board['through']}; {board['clips_a_register']} "
        f"clips or images a register and {board['kept_clips']} of other concepts."
    )
    return f"{head}\n\n{table(board['rows'])}"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as Markdown, with a final row of means and a line with the difference between video and images."""
    figures = [_figures(row) for row in rows]
    means = [_mean([each[column] for each in figures]) for column in range(len(HEAD) - 1)]
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    for name, values in zip([*(row["concept"] for row in rows), "mean"], [*figures, means], strict=True):
        lines.append(f"| {name} | {' | '.join(map(percent, values))} |")
    after, video = means[1], means[2]
    apart = "not known" if after is None or video is None else f"{100 * (video - after):+.1f} points"
    return "\n".join([*lines, "", f"Still shown on video against on images: {apart}."])


def _figures(row: Mapping[str, Any]) -> list[float | None]:
    images, video = row["images"], row["video"]
    before, after, kept_before, kept_after = (_mean(images[key]) for key in ("before", "after", "kept_before", "kept_after"))
    kept = None if not kept_before or kept_after is None else kept_after / kept_before
    return [before, after, _mean(video["shown"]), kept, video["kept"], video["erased_synonym"], video["erased_refined"]]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="encoder_transfer", description=(__doc__ or "").splitlines()[0])
    add_bench(parser, "encoder-transfer")
    parser.set_defaults(model="miniature-unet")
    return parser


if __name__ == "__main__":
    sys.exit(main())
