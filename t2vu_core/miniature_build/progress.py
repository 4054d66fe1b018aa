"""A training run of a given number of minutes: log, moving average, and state on disk."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from t2vu_core.erasure import atomic_path
from t2vu_core.miniature_build.averaging import MovingAverage
from t2vu_core.miniature_build.optimizers import Optimizers
from t2vu_core.mixed_precision import CPU, fast_bf16

log = logging.getLogger(__name__)

MINUTES_BETWEEN_STATES = 3.0
# In float32 it takes 80 to 95 seconds at first; then a step takes 0.73 of the time (denoiser), 0.8 (image UNet).
MINUTES_WORTH_COMPILING = 15.0


@dataclass(frozen=True)
class Budget:
    """How long a stage trains, on what, and where it keeps its state."""

    minutes: float
    seed: int
    batch_size: int
    state: Path | None = None
    """From this file an interrupted stage continues."""
    on_interval: Callable[[float], None] | None = None
    """Called with the minutes about every ten minutes, with the averaged weights in place."""


class Progress:
    """Counts steps and minutes; an interrupted run continues from the last state in the file `state`.

    The time it was interrupted for does not count. `on_interval(minutes)` is called about every ten minutes with the
    averaged weights in place.
    """

    def __init__(
        self,
        name: str,
        minutes: float,
        average: MovingAverage,
        optimizers: Optimizers,
        *,
        state: Path | None = None,
        on_interval: Callable[[float], None] | None = None,
    ) -> None:
        self.name, self.minutes, self.average, self.optimizers = name, minutes, average, optimizers
        self.state, self.on_interval = state, on_interval
        self.step, self.spent, self._tick = 0, 0.0, 0.0
        self.losses: list[float] = []
        if state is not None and state.is_file():
            self._load(state)
        self._saved = self._reported = self.spent / 60

    @property
    def done(self) -> float:
        """Share of the time that is spent."""
        return self.spent / (60 * self.minutes)

    def begin(self) -> bool:
        """Whether another step is due; after the last, the averaged weights are in place."""
        self._tick = time.monotonic()
        if self.done < 1:
            return True
        self.average.copy_to_parameters()
        log.info("%s: %d steps", self.name, self.step)
        return False

    def end(self, loss: float) -> None:
        """Count a step; every hundredth is logged, and the state kept every few minutes."""
        self.average.update()
        self.losses.append(loss)
        self.step += 1
        self.spent += time.monotonic() - self._tick
        minutes = self.spent / 60
        if self.step % 100 == 0 or self.step == 5:
            mean, self.losses = sum(self.losses) / len(self.losses), []
            pace = 1000 * self.spent / self.step
            log.info("%s step %d: loss %.4f, %.1f min, %.0f ms a step", self.name, self.step, mean, minutes, pace)
        if self.state is not None and minutes >= self._saved + MINUTES_BETWEEN_STATES:
            self._saved = minutes
            self._save(self.state)
        if self.on_interval is not None and minutes >= self._reported + 10:
            self._reported = minutes
            self._report(self.on_interval)

    def _save(self, path: Path) -> None:
        values = {
            "step": self.step,
            "spent": self.spent,
            "updates": self.average.updates,
            "parameters": [parameter.detach() for parameter in self.average.parameters],
            "average": self.average.values,
            "optimizers": self.optimizers.state_dict(),
        }
        with atomic_path(path) as temporary:
            torch.save(values, temporary)

    @torch.no_grad()
    def _load(self, path: Path) -> None:
        values = torch.load(path, weights_only=True)
        self.step, self.spent, self.average.updates = values["step"], values["spent"], values["updates"]
        torch._foreach_copy_([*self.average.parameters, *self.average.values], [*values["parameters"], *values["average"]])
        self.optimizers.load_state_dict(values["optimizers"])
        log.info("%s goes on from step %d, %.1f min", self.name, self.step, self.spent / 60)

    @torch.no_grad()
    def _report(self, on_interval: Callable[[float], None]) -> None:
        live = [parameter.detach().clone() for parameter in self.average.parameters]
        self.average.copy_to_parameters()
        on_interval(self._reported)
        for parameter, value in zip(self.average.parameters, live, strict=True):
            parameter.copy_(value)


def compile_for(module: nn.Module, minutes: float) -> None:
    """Compile a module that is trained for that long, in place, if that is worth it and there is a C++ compiler.

    What cannot be compiled runs as it is. Not where training runs compute in bf16: there, on a processor with AVX-512, the
    gradients of the compiled denoiser are NaN from the first step (torch 2.13), and a step is not faster.
    """
    if minutes >= MINUTES_WORTH_COMPILING and shutil.which("g++") and not fast_bf16(CPU):
        torch._dynamo.config.suppress_errors = True
        module.compile()
