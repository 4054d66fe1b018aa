"""Draws the picture of each help page, where the node stands in a graph: `python -m tools.help_pictures`.

Written to web/docs/pictures for the help panel, with the Chinese names of the nodes in zh/, and to docs/nodes/pictures for the
site.
"""

from __future__ import annotations

import dataclasses
import html
import json
import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = (REPOSITORY / "web" / "docs" / "pictures", REPOSITORY / "docs" / "nodes" / "pictures")
CHINESE = FOLDERS[0] / "zh"
WIDTH, BOX, GAP, LINE = 300, 46, 30, 15
LETTERS = {1: 34, 2: 18, 3: 12}
"""Letters in a line of a box, by the number of boxes in its row; a Chinese one counts twice."""
WIDE = "\u2e80-\uffff"
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


STOCK_IN_CHINESE = {
    "Diffusion Model": "UNet加载器",
    MODEL: "UNet加载器",
    CLIP: "加载CLIP",
    "Load VAE": "加载VAE",
    "Load Checkpoint": "Checkpoint加载器（简易）",
    "CLIP Text Encode": "CLIP文本编码",
    KSAMPLER: "K采样器",
    "Save Video": "保存视频",
}
"""ComfyUI's nodes, as its frontend names them in Chinese."""


def main() -> None:
    for folder, places in {FOLDERS[0]: PLACES, FOLDERS[1]: PLACES, CHINESE: in_chinese()}.items():
        folder.mkdir(exist_ok=True)
        for node, place in places.items():
            (folder / f"{node}.svg").write_text(picture(place), encoding="utf-8")


def in_chinese() -> dict[str, Place]:
    """The same places with the Chinese names of the nodes."""
    ours = json.loads((REPOSITORY / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
    # Without the types in brackets, for which a box has no room.
    names = {place.name: ours[node]["display_name"].split("（")[0] for node, place in PLACES.items()} | STOCK_IN_CHINESE
    return {
        node: dataclasses.replace(
            place,
            name=names[place.name],
            before=tuple(names[name] for name in place.before),
            after=tuple(names[name] for name in place.after),
        )
        for node, place in PLACES.items()
    }


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
    lines = _wrapped(name, LETTERS[count])
    first = top + BOX / 2 + 4 - (len(lines) - 1) * LINE / 2
    words = "".join(
        f'<text x="{middle:g}" y="{first + number * LINE:g}">{html.escape(line)}</text>' for number, line in enumerate(lines)
    )
    fill = OWN if own else PLAIN
    return (
        f'<rect x="{middle - width / 2:g}" y="{top}" width="{width:g}" height="{BOX}" rx="8" fill="{fill}"/>'
        f'<g fill="{INK}" font-family="Arial, Helvetica, sans-serif" font-size="12" text-anchor="middle">{words}</g>'
    )


def _wrapped(name: str, letters: int) -> list[str]:
    """Lines of at most so many letters, broken at spaces and between Chinese letters."""
    lines = [""]
    for word in re.findall(rf"[{WIDE}]|[^\s{WIDE}]+\s*|\s+", name):
        if lines[-1] and _cells(lines[-1]) + _cells(word.rstrip()) > letters:
            lines.append("")
        lines[-1] += word
    return [line.strip() for line in lines]


def _cells(text: str) -> int:
    return len(text) + len(re.findall(f"[{WIDE}]", text))


if __name__ == "__main__":
    main()
