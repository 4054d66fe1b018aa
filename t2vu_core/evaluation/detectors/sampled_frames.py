"""A sample of the frames of a clip, for detectors that are too slow for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MOST_FRAMES = 8


def sampled_frames(clip_FCHW: Tensor, most: int = MOST_FRAMES) -> tuple[Tensor, list[int]]:
    """Evenly spaced frames of a clip, and for each of its frames the index of the nearest sampled one."""
    count = len(clip_FCHW)
    taken = torch.linspace(0, count - 1, min(most, count)).round().long()
    nearest = (torch.arange(count)[:, None] - taken[None]).abs().argmin(1)
    return clip_FCHW[taken], nearest.tolist()


def spread(found: Sequence[bool], nearest: Sequence[int]) -> list[bool]:
    """Results for the sampled frames -> for all frames."""
    return [bool(found[index]) for index in nearest]
