"""Some frames of a clip, for detectors that are too slow to look at all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MOST_FRAMES = 8


def sampled_frames(clip_FCHW: Tensor, most: int = MOST_FRAMES) -> tuple[Tensor, list[int]]:
    """Evenly spread frames of a clip, and for every frame of it the index of the nearest that was taken."""
    count = len(clip_FCHW)
    taken = torch.linspace(0, count - 1, min(most, count)).round().long()
    nearest = (torch.arange(count)[:, None] - taken[None]).abs().argmin(1)
    return clip_FCHW[taken], nearest.tolist()


def spread(verdicts: Sequence[bool], nearest: Sequence[int]) -> list[bool]:
    """Verdicts on the taken frames -> on all frames."""
    return [bool(verdicts[index]) for index in nearest]
