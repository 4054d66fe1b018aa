"""An exponential moving average of parameters: its weights are far better than those of the last step."""

from __future__ import annotations

from collections.abc import Iterable

from diffusers.training_utils import EMAModel
from torch import Tensor, nn


class MovingAverage(EMAModel):
    """diffusers' moving average, bound to the parameters that it follows.

    Its decay grows from 0 to `decay`, so that early steps are forgotten.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, decay: float) -> None:
        self.parameters = list(parameters)
        super().__init__(self.parameters, decay=decay, foreach=True)

    @property
    def values(self) -> list[Tensor]:
        """The averaged parameters, in the order of `parameters`."""
        averaged: list[Tensor] = self.shadow_params
        return averaged

    @property
    def updates(self) -> int:
        """How many updates there were; the decay depends on it."""
        return int(self.optimization_step)

    @updates.setter
    def updates(self, count: int) -> None:
        self.optimization_step = count

    def update(self) -> None:
        """Follow the parameters after a training step."""
        self.step(self.parameters)

    def copy_to_parameters(self) -> None:
        """Replace the parameters by their average."""
        self.copy_to(self.parameters)
