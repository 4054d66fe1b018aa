"""What a training tells while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Stage = Literal["prompts", "shots", "trajectories", "mask", "training"]


@dataclass(frozen=True)
class TrainProgress:
    """One step of one stage. A callback that raises stops the training."""

    stage: Stage
    step: int
    total: int
    loss: float | None = None
    preview: Callable[[], Tensor] | None = None
    """Clips (B, F, 3, H, W) in [0, 1] of the state so far; costs a decode, so call it seldom."""
    note: str = ""
    """What else there is to say of the stage, such as the size of what it makes."""


ProgressCallback = Callable[[TrainProgress], None]
