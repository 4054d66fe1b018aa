"""What a guard is: a training-free method that takes the place of plain guidance while a clip is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from t2vu_core.families import ClipSize, Family, TextCondition


class GuardedPrediction(Protocol):
    """Has the signature of `t2vu_core.model.guided`; called once a step, from noise to clip, it may keep state."""

    def __call__(
        self,
        family: Family,
        latents: Tensor,
        timestep: Tensor,
        condition: TextCondition,
        empty: TextCondition | None,
        guidance_scale: float,
        size: ClipSize,
    ) -> Tensor: ...


class Guard(Protocol):
    """A value: its settings. `start` gives what one sampling needs."""

    def start(self, family: Family, prompts: Sequence[str], num_inference_steps: int) -> GuardedPrediction:
        """Prepare one sampling of these prompts."""

    def describe(self) -> dict[str, Any]:
        """Name and settings as JSON values."""
