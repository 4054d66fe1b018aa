"""Clips to files: mp4 for players, WebP for pages, sheets of frames for a glance."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from t2vu_core.erasure import atomic_path
from t2vu_core.errors import UserError

VIDEO_SUFFIXES = (".mp4", ".webp", ".gif")


def to_uint8(clip_FCHW: Tensor) -> np.ndarray:
    """Frames (F, 3, H, W) in [0, 1] -> (F, H, W, 3) uint8."""
    return (clip_FCHW.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def enlarge(clip_FCHW: Tensor, factor: int) -> Tensor:
    """Whole-number enlargement without blur, so that a small clip can be looked at."""
    return F.interpolate(clip_FCHW, scale_factor=factor, mode="nearest") if factor > 1 else clip_FCHW


def save_video(clip_FCHW: Tensor, path: str | Path, *, fps: int, loops: int = 1, crf: int = 14) -> Path:
    """Write a clip (F, 3, H, W) in [0, 1] as .mp4 (h264), .webp or .gif; whole or not at all.

    `loops` repeats a short clip in an mp4, which has no loop of its own. Odd sizes are padded by one pixel,
    because h264 needs even ones.
    """
    target = Path(path)
    if target.suffix.lower() not in VIDEO_SUFFIXES:
        raise UserError(f"{target.name!r} is no video name: end it in {', '.join(VIDEO_SUFFIXES)}.")
    frames = to_uint8(clip_FCHW)
    with atomic_path(target) as temporary:
        if target.suffix.lower() == ".mp4":
            _write_mp4(np.concatenate([frames] * loops), temporary, fps, crf)
        else:
            images = [Image.fromarray(frame) for frame in frames]
            images[0].save(temporary, save_all=True, append_images=images[1:], duration=1000 // fps, loop=0, lossless=True)
    return target


def _write_mp4(frames: np.ndarray, path: Path, fps: int, crf: int) -> None:
    height, width = frames.shape[1:3]
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": str(crf)})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def contact_sheet(
    rows: Sequence[Sequence[Tensor]],
    *,
    titles: Sequence[str] = (),
    labels: Sequence[str] = (),
    frames: Sequence[int] = (0, 4, 8),
    scale: int = 2,
) -> Image.Image:
    """Clips (F, 3, H, W) as a picture: one row of the sheet per row, some frames of every clip side by side.

    `titles` stand above the columns, `labels` above the rows.
    """
    gap, font = 6, ImageFont.load_default(size=13)
    height, width = (side * scale for side in rows[0][0].shape[-2:])
    cell = width * len(frames) + gap
    top, line = (20 if titles else 0), (18 if labels else 0)
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * cell + gap, top + len(rows) * (height + line + gap)), (24, 24, 28))
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((gap + column * cell, 3), title, fill=(255, 255, 255), font=font)
    for index, row in enumerate(rows):
        y = top + index * (height + line + gap)
        if labels:
            draw.text((gap, y + 1), labels[index], fill=(200, 200, 210), font=font)
        for column, clip in enumerate(row):
            shown = to_uint8(clip[list(frames)])
            for place, frame in enumerate(shown):
                picture = Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST)
                sheet.paste(picture, (gap + column * cell + place * width, y + line))
    return sheet
