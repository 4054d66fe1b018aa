"""The demo's pictures: all clips as one, and before next to after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from t2vu_core.video import to_uint8

CELL = 96
COLUMNS = 6
GAP = 4
MARGIN = 24
CARD, CARD_BAR, BADGE = 480, 50, 200
INK, MUTED, PAPER = (255, 255, 255), (170, 175, 185), (24, 24, 28)
GREEN, RED = (120, 220, 140), (255, 130, 120)


def grid(clips_BFCHW: Tensor) -> Tensor:
    """All clips side by side, COLUMNS in a row: (F, 3, H, W) in [0, 1]."""
    frames = clips_BFCHW.shape[1]
    large = F.interpolate(clips_BFCHW.flatten(0, 1), size=(CELL, CELL), mode="bicubic").clamp(0, 1)
    padded = F.pad(large, (0, GAP, 0, GAP)).unflatten(0, (-1, frames))
    padded = torch.cat([padded, padded.new_zeros(-len(padded) % COLUMNS, *padded.shape[1:])])
    rows = padded.unflatten(0, (-1, COLUMNS))
    return rows.permute(2, 3, 0, 4, 1, 5).flatten(4, 5).flatten(2, 3)


def side_by_side(before_BFCHW: Tensor, after_BFCHW: Tensor, report: dict[str, Any]) -> Image.Image:
    """Middle frames: left before, right after; above the prompts with the concept, below the others."""
    count, concept = len(before_BFCHW) // 2, report["concept"]
    bands = [
        (f"Prompts that ask for a {concept}", slice(0, count), report["erased"], False),
        ("Prompts that ask for something else", slice(count, None), report["kept"], True),
    ]
    halves = [[_middle(clips[part]) for clips in (before_BFCHW, after_BFCHW)] for _, part, _, _ in bands]
    width, height = halves[0][0].size
    page = Image.new("RGB", (2 * width + 3 * MARGIN, 60 + 2 * (height + 62)), PAPER)
    draw = ImageDraw.Draw(page)
    for side, title in enumerate(("Before", f"After erasing “{concept}”")):
        draw.text((MARGIN + side * (width + MARGIN), 14), title, fill=INK, font=_font(28))
    for band, (title, _, rates, wanted) in enumerate(bands):
        top = 60 + band * (height + 62)
        for side, when in enumerate(("before", "after")):
            left = MARGIN + side * (width + MARGIN)
            good = (rates[when] >= 0.5) == wanted
            said = f"{rates[when]:.0%} show it" if not wanted else f"{rates[when]:.0%} show what was asked"
            draw.text((left, top), title, fill=MUTED, font=_font(17))
            draw.text((left + width, top), said, fill=GREEN if good else RED, font=_font(17), anchor="ra")
            page.paste(halves[band][side], (left, top + 28))
    return page


def card(columns: dict[str, tuple[Tensor, Tensor]], title: str = "") -> list[Image.Image]:
    """The frames of a template's thumbnail: a titled column for each pair of a clip with the concept and one without.

    Clips are (F, 3, H, W) in [0, 1]. The template browser lays a badge over the top left corner, so nothing stands there.
    """
    frames = min(len(clip) for pair in columns.values() for clip in pair)
    return [_card_frame({name: [clip[at] for clip in pair] for name, pair in columns.items()}, title) for at in range(frames)]


def still(frames: Sequence[Image.Image]) -> Image.Image:
    """The middle frame, for where nothing moves."""
    return frames[len(frames) // 2]


def _card_frame(columns: dict[str, list[Tensor]], title: str) -> Image.Image:
    """One frame, square: the title at the top right, the clips, and below each column what it shows."""
    page = Image.new("RGB", (CARD, CARD), PAPER)
    draw = ImageDraw.Draw(page)
    if title:
        draw.text((CARD - GAP * 2, CARD_BAR / 2), title, fill=MUTED, font=_fitting(title, CARD - GAP * 2 - BADGE), anchor="rm")
    rows = max(map(len, columns.values()))
    width = (CARD - GAP) // len(columns) - GAP
    side = min(width, (CARD - 2 * CARD_BAR) // rows - GAP)
    for column, (name, pictures) in enumerate(columns.items()):
        left = GAP + column * (width + GAP) + (width - side) // 2
        for row, picture in enumerate(pictures):
            frame = Image.fromarray(to_uint8(picture[None])[0])
            page.paste(frame.resize((side, side), Image.Resampling.BICUBIC), (left, CARD_BAR + row * (side + GAP)))
        draw.text((left + side / 2, CARD - CARD_BAR / 2), name, fill=INK, font=_font(24), anchor="mm")
    return page


def _middle(clips_BFCHW: Tensor) -> Image.Image:
    middle = clips_BFCHW.shape[1] // 2
    return Image.fromarray(to_uint8(grid(clips_BFCHW[:, middle : middle + 1]))[0])


def _fitting(text: str, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The largest font in which the text is not wider, but never an unreadable one."""
    return next((font for font in map(_font, range(21, 12, -1)) if font.getlength(text) <= width), _font(12))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
