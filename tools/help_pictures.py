"""Draws the picture of each help page, where the node stands in a graph: `python -m tools.help_pictures`.

Written to web/docs/pictures for the help panel, and to docs/nodes/pictures for the site.
"""

from __future__ import annotations

import html
import textwrap
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = (REPOSITORY / "web" / "docs" / "pictures", REPOSITORY / "docs" / "nodes" / "pictures")
WIDTH, BOX, GAP, LINE = 300, 46, 30, 15
LETTERS = {1: 34, 2: 18, 3: 12}
"""Letters in a line of a box, by the number of boxes in its row."""
PAPER, PLAIN, OWN, INK, WIRE = "#20242d", "#3a4152", "#4b6ea9", "#ffffff", "#aab4c8"
LOAD, ERASE, UNLEARN = "Load T2V Model", "Velocity Erase Fine-tune", "Few-Shot Unlearn Encoder"
APPLY, COMPARE, EVALUATE = "Apply Eraser", "Compare Before and After", "Evaluate Erasure"
NATIVE, KSAMPLER, MODEL, CLIP = "T2V Model from ComfyUI", "KSampler", "Load Diffusion Model", "Load CLIP"


@dataclass(frozen=True)
class Place:
    """The display name of a node, what is connected before it, and what after it."""

    name: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


PLACES = {
    "T2VULoadModel": Place(LOAD, (), (ERASE, COMPARE)),
    "T2VUFromComfyUI": Place(NATIVE, ("Diffusion Model", CLIP, "Load VAE"), (ERASE, EVALUATE)),
    "T2VULoadMiniatureNative": Place("Load Miniature", (), (NATIVE, KSAMPLER)),
    "T2VUImageModelFromComfyUI": Place("Image Model from ComfyUI", ("Load Checkpoint",), (UNLEARN,)),
    "T2VUFewShotUnlearn": Place(UNLEARN, (LOAD,), (COMPARE, "Save Erasure")),
    "T2VUApplyEncoder": Place("Apply Unlearned Encoder", (LOAD, UNLEARN), ("Sample Video",)),
    "T2VUApplyEncoderClip": Place("Apply Unlearned Encoder (CLIP)", (CLIP, "Load Unlearned Encoder"), ("CLIP Text Encode",)),
    "T2VULoadEncoder": Place("Load Unlearned Encoder", (), ("Apply Unlearned Encoder",)),
    "T2VUVelocityErase": Place(ERASE, (LOAD,), (COMPARE, "Save Erasure")),
    "T2VUClosedFormErase": Place("Closed-Form Erase", (LOAD,), (COMPARE, "Save Erasure")),
    "T2VUApplyEraser": Place(APPLY, (LOAD, ERASE), ("Sample Video",)),
    "T2VUApplyEraserNative": Place("Apply Eraser (MODEL)", (MODEL, "Load Erasure"), (KSAMPLER,)),
    "T2VUSampleVideo": Place("Sample Video", (APPLY,), ("Save Video",)),
    "T2VUCompare": Place(COMPARE, (LOAD, ERASE), ("Save Video",)),
    "T2VUSaveErasure": Place("Save Erasure", (ERASE,), ()),
    "T2VULoadErasure": Place("Load Erasure", (), (APPLY, "Apply Eraser (MODEL)")),
    "T2VUExportLora": Place("Export LoRA", (ERASE,), ()),
    "T2VUExportEncoder": Place("Export Unlearned Encoder", (UNLEARN,), ()),
    "T2VUEvaluateErasure": Place(EVALUATE, (LOAD, ERASE), ()),
    "T2VUGuard": Place("Guard", (LOAD,), ("Sample Video",)),
}


def main() -> None:
    for folder in FOLDERS:
        folder.mkdir(exist_ok=True)
        for node, place in PLACES.items():
            (folder / f"{node}.svg").write_text(picture(place), encoding="utf-8")


def picture(place: Place) -> str:
    """Rows from top to bottom: what comes before, the node, what comes after."""
    rows = [row for row in (place.before, (place.name,), place.after) if row]
    height = len(rows) * BOX + (len(rows) - 1) * GAP + 2 * LINE
    parts = [f'<rect width="{WIDTH}" height="{height}" rx="10" fill="{PAPER}"/>']
    for at, row in enumerate(rows):
        top = LINE + at * (BOX + GAP)
        if at:
            parts += [
                _wire(_middle(a, rows[at - 1]), _middle(b, row), top) for a in range(len(rows[at - 1])) for b in range(len(row))
            ]
        parts += [_box(name, _middle(number, row), top, len(row), own=row == (place.name,)) for number, name in enumerate(row)]
    body = "\n  ".join(parts)
    label = html.escape(f"{place.name} in a graph")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{label}">\n  {body}\n</svg>\n'
    )


def _middle(number: int, row: tuple[str, ...]) -> float:
    return WIDTH / len(row) * (number + 0.5)


def _wire(start: float, end: float, top: float) -> str:
    bend = top - GAP / 2
    path = f"M{start:g} {top - GAP}C{start:g} {bend:g} {end:g} {bend:g} {end:g} {top}"
    return f'<path d="{path}" fill="none" stroke="{WIRE}" stroke-width="2"/>'


def _box(name: str, middle: float, top: float, count: int, *, own: bool) -> str:
    width = WIDTH / count - 16
    lines = textwrap.wrap(name, LETTERS[count])
    first = top + BOX / 2 + 4 - (len(lines) - 1) * LINE / 2
    words = "".join(
        f'<text x="{middle:g}" y="{first + number * LINE:g}">{html.escape(line)}</text>' for number, line in enumerate(lines)
    )
    fill = OWN if own else PLAIN
    return (
        f'<rect x="{middle - width / 2:g}" y="{top}" width="{width:g}" height="{BOX}" rx="8" fill="{fill}"/>'
        f'<g fill="{INK}" font-family="Arial, Helvetica, sans-serif" font-size="12" text-anchor="middle">{words}</g>'
    )


if __name__ == "__main__":
    main()
