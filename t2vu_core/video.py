"""Writing clips to files: mp4, WebP and GIF."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from t2vu_core.erasure import atomic_path
from t2vu_core.errors import UserError

VIDEO_SUFFIXES = (".mp4", ".webp", ".gif")


def to_uint8(clip_FCHW: Tensor) -> np.ndarray:
    """Frames (F, 3, H, W) in [0, 1] -> (F, H, W, 3) uint8."""
    return (clip_FCHW.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def enlarge(clip_FCHW: Tensor, factor: int) -> Tensor:
    """Enlarge by a whole number without blur, so that a small clip can be viewed."""
    return F.interpolate(clip_FCHW, scale_factor=factor, mode="nearest") if factor > 1 else clip_FCHW


def save_video(clip_FCHW: Tensor, path: str | Path, *, fps: int, loops: int = 1, crf: int = 14) -> Path:
    """Write a clip (F, 3, H, W) in [0, 1] as .mp4 (h264), .webp or .gif; the file appears complete or not at all.

    `loops` repeats a short clip in an mp4, which cannot loop by itself. Odd sizes are padded by one pixel because h264
    needs even ones. Raises UserError for any other suffix.
    """
    target = Path(path)
    if target.suffix.lower() not in VIDEO_SUFFIXES:
        raise UserError(f"{target.name!r} is not a video file name: end it in {', '.join(VIDEO_SUFFIXES)}.")
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
