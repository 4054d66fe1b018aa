"""What a training run reports while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Stage = Literal["neutral check", "prompts", "encoding", "shots", "trajectories", "mask", "training"]


@dataclass(frozen=True)
class TrainProgress:
    """One step of one stage. An exception from the callback stops the run."""

    stage: Stage
    step: int
    total: int
    loss: float | None = None
    preview: Callable[[], Tensor] | None = None
    """Clips (B, F, 3, H, W) in [0, 1] of the state so far; costs a decode, so call it seldom.

    At the stage "mask" it is one clip under the concept's mask: bright where the concept was found.
    """
    note: str = ""
    """A short remark about the stage, such as the size of what it produces."""
    notice: str = ""
    """A sentence that holds for the whole run, such as what it could not go on with."""


ProgressCallback = Callable[[TrainProgress], None]
