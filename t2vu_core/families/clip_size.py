"""Sizes of clips, and an architecture's usual sampling settings."""

from __future__ import annotations

from dataclasses import dataclass

from t2vu_core.errors import UserError


@dataclass(frozen=True)
class ClipSize:
    """Size of a clip in frames and pixels."""

    num_frames: int
    height: int
    width: int


@dataclass(frozen=True)
class SamplingDefaults:
    """The architecture's usual sampling settings."""

    size: ClipSize
    num_inference_steps: int
    guidance_scale: float
    fps: int
    embedded_guidance: float | None = None
    """Guidance that a distilled model takes as an input; None if it takes none."""


def check_grid(model: str, size: ClipSize, own: ClipSize, *, unit: int, ratio: int) -> None:
    """Raise UserError unless the pixels are multiples of `unit` and the frames are `ratio` k + 1."""
    if size.height % unit or size.width % unit or min(size.height, size.width) < unit:
        near = [max(unit, round(length / unit) * unit) for length in (size.width, size.height)]
        raise UserError(
            f"{model} cannot make {size.width} x {size.height} pixels: width and height must be multiples of "
            f"{unit}, for example {near[0]} x {near[1]} or its own {own.width} x {own.height}."
        )
    if size.num_frames < 1 or (size.num_frames - 1) % ratio:
        below = max(1, (size.num_frames - 1) // ratio * ratio + 1)
        raise UserError(
            f"{model} cannot make {size.num_frames} frames: it makes {ratio} k + 1, for example {below} or {below + ratio}."
        )
