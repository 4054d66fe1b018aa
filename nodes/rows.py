"""Clips before and after side by side: the frames of the captioned video, and the files that the node's player shows."""

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from t2vu_core.video import enlarge, save_video, to_uint8

from . import comfy_bridge

VISIBLE_HEIGHT = 240
"""Smaller clips are enlarged by a whole number."""
ROWS = 3
"""Prompts under each other before another column starts."""
MAX_WIDTH = 3840
GAP, BAR, FONT = 8, 30, 18
INK, MUTED, PAPER = (255, 255, 255), (170, 175, 185), (24, 24, 28)


@dataclass(frozen=True)
class Row:
    """Clips (F, 3, H, W) in [0, 1] of one prompt and one seed, of the same length and size, by their titles."""

    prompt: str
    clips: Mapping[str, Tensor]

    @classmethod
    def of(cls, prompt: str, clips: Mapping[str, Tensor]) -> "Row":
        """Clips made as long as the shortest one and as large as the first."""
        frames, size = min(map(len, clips.values())), next(iter(clips.values())).shape[-2:]
        return cls(prompt, {title: _resized(clip[:frames], size) for title, clip in clips.items()})

    def joined(self, gap: int = 0) -> Tensor:
        """All clips side by side, large enough to be seen, with black between them."""
        clips = list(self.clips.values())
        factor = math.ceil(VISIBLE_HEIGHT / clips[0].shape[-2])
        return torch.cat([F.pad(enlarge(clip, factor), (0, gap)) for clip in clips], dim=-1)[..., : -gap or None]


def _resized(clip: Tensor, size: Sequence[int]) -> Tensor:
    return clip if clip.shape[-2:] == size else F.interpolate(clip, size=tuple(size), mode="bicubic").clamp(0, 1)


def captioned(rows: Sequence[Row]) -> Tensor:
    """The frames of all rows with their prompts, (F, H, W, 3) in [0, 1]: up to ROWS under each other."""
    joined = [_with_caption(row) for row in rows]
    frames, height, width = min(map(len, joined)), joined[0].shape[1], joined[0].shape[2]
    down, columns = min(ROWS, len(joined)), math.ceil(len(joined) / ROWS)
    page = np.full((frames, down * height, columns * width + (columns - 1) * GAP, 3), PAPER, dtype=np.uint8)
    for number, clip in enumerate(joined):
        top, left = number % ROWS * height, number // ROWS * (width + GAP)
        page[:, top : top + height, left : left + width] = clip[:frames]
    return _even(torch.from_numpy(page).float() / 255)


def player_files(rows: Sequence[Row], fps: float) -> list[dict[str, Any]]:
    """One video per prompt in ComfyUI's temporary folder, without captions, as `/view` and web/js/player.js take it."""
    folder, files = comfy_bridge.temporary_folder(), []
    for row in rows:
        name = f"t2vu_compare_{uuid.uuid4().hex[:12]}.mp4"
        save_video(row.joined(), folder / name, fps=max(1, round(fps)))
        files.append({"filename": name, "subfolder": "", "type": "temp", "prompt": row.prompt, "titles": list(row.clips)})
    return files


def _with_caption(row: Row) -> np.ndarray:
    """The frames under their prompt and the titles of the clips."""
    frames = to_uint8(row.joined(GAP))
    count, _, width, _ = frames.shape
    head = Image.new("RGB", (width, 2 * BAR), PAPER)
    draw, font = ImageDraw.Draw(head), ImageFont.load_default(size=FONT)
    draw.text((GAP, BAR / 2), _cut(row.prompt, width - 2 * GAP, font), fill=INK, font=font, anchor="lm")
    for number, title in enumerate(row.clips):
        left = number * (width + GAP) / len(row.clips)
        draw.text((GAP + left, BAR * 1.5), title, fill=MUTED, font=font, anchor="lm")
    band = np.broadcast_to(np.asarray(head), (count, *np.asarray(head).shape))
    return np.concatenate([band, frames, np.full((count, GAP, width, 3), PAPER, dtype=np.uint8)], axis=1)


def _cut(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text on one line, cut where it is wider than `width`."""
    line = " ".join(text.split())
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…"


def _even(frames_FHWC: Tensor) -> Tensor:
    """No wider than MAX_WIDTH, and with the even height and width that h264 needs."""
    _, height, width, _ = frames_FHWC.shape
    scale = min(1.0, MAX_WIDTH / width)
    size = [max(2, int(side * scale) // 2 * 2) for side in (height, width)]
    if size == [height, width]:
        return frames_FHWC
    return F.interpolate(frames_FHWC.movedim(-1, 1), size=size, mode="area").movedim(1, -1).contiguous()
