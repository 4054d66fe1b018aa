"""The learning-rate schedule: linear warm-up, then a cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """How many steps a run has, and the learning rate of each."""

    steps: int
    peak: float

    def learning_rate(self, step: int) -> float:
        """Linear warm-up over the first tenth of the steps (at most 20), then a cosine down to a twentieth of the peak."""
        return self.peak * self._factor(step)

    def _factor(self, step: int) -> float:
        warm = max(1, min(20, self.steps // 10))
        if step < warm:
            return (step + 1) / warm
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))
