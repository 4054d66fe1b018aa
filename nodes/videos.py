"""Clips as ComfyUI's IMAGE and VIDEO."""

from collections.abc import Sequence
from fractions import Fraction

import torch
from comfy_api.v0_0_2 import InputImpl, Types
from torch import Tensor


def as_images(clips: Sequence[Tensor]) -> Tensor:
    """The frames of clips (F, 3, H, W), one clip after another, as an IMAGE (N, H, W, 3)."""
    return torch.cat(list(clips)).permute(0, 2, 3, 1).contiguous()


def video_of(images: Tensor, fps: float) -> InputImpl.VideoFromComponents:
    """A VIDEO of frames (F, H, W, 3)."""
    rate = Fraction(fps).limit_denominator(1000)
    return InputImpl.VideoFromComponents(Types.VideoComponents(images=images, frame_rate=rate))
