"""Parameters and moments as they were before an update, to return to if the update is not finite."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class BeforeStep:
    """The last state in main memory; the copies are made once and overwritten at every step."""

    def __init__(self, parameters: Iterable[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        self.parameters, self.optimizer = list(parameters), optimizer
        self._kept: dict[int, Tensor] = {}

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the state as it is now."""
        for number, value in enumerate(self._values()):
            if number not in self._kept:
                # Copies into pinned memory do not wait for the device.
                self._kept[number] = torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
            self._kept[number].copy_(value, non_blocking=value.is_cuda)

    @torch.no_grad()
    def restore(self) -> None:
        """Put the copied state back. Before the first step there are no moments: those of a first step stay."""
        if self.parameters[0].is_cuda:
            torch.cuda.synchronize(self.parameters[0].device)
        for number, value in enumerate(self._values()):
            if number in self._kept:
                value.copy_(self._kept[number])

    def is_finite(self) -> bool:
        """Whether all parameters are finite now."""
        return bool(torch.stack([torch.isfinite(parameter.detach()).all() for parameter in self.parameters]).all())

    def _values(self) -> list[Tensor]:
        """The parameters first, so that they keep their numbers when the first step adds moments."""
        moments = [self.optimizer.state.get(parameter, {}) for parameter in self.parameters]
        return [parameter.detach() for parameter in self.parameters] + [v for each in moments for v in each.values()]
