"""Samplers other than a model's own, along the same timesteps and for every way of predicting.

A scheduler's noising is linear: `x = signal x_0 + spread eps`, and what is predicted is `of_clean x_0 + of_noise eps`. From
these four numbers at every timestep the clean latents and the noise follow, and a sampler needs no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from t2vu_core.sampling import Step
from t2vu_core.training.noising import add_noise

FURTHER_SEEDS = 2**40
"""Distance of the seeds of noise that is added on the way; the starting noise has the clip's own."""


@dataclass(frozen=True)
class Noising:
    """The noising at one timestep."""

    signal: float
    spread: float
    of_clean: float = 0.0
    of_noise: float = 1.0

    @classmethod
    def at(cls, scheduler: Any, place: int) -> Noising:
        """At an index into the scheduler's timesteps; after the last one the latents are clean."""
        if place == len(scheduler.timesteps):
            return cls(1.0, 0.0)
        one, nothing = torch.ones(1, 1), torch.zeros(1, 1)
        (signal, of_clean), (spread, of_noise) = (
            (float(value) for value in add_noise(scheduler, clean, eps, torch.tensor([place])))
            for clean, eps in ((one, nothing), (nothing, one))
        )
        return cls(signal, spread, of_clean, of_noise)

    def clean(self, latents: Tensor, prediction: Tensor) -> Tensor:
        """The clean latents that a prediction means."""
        return (self.of_noise * latents - self.spread * prediction) / self._determinant()

    def noise(self, latents: Tensor, prediction: Tensor) -> Tensor:
        """The noise that it means."""
        return (self.signal * prediction - self.of_clean * latents) / self._determinant()

    def _determinant(self) -> float:
        return self.signal * self.of_noise - self.spread * self.of_clean

    def log_ratio(self) -> float:
        """The logarithm of signal over spread."""
        if self.signal <= 0 or self.spread <= 0:
            return -math.inf if self.signal <= 0 else math.inf
        return math.log(self.signal / self.spread)


def ancestral(seeds: Sequence[int]) -> Step:
    """New noise in every step, as DDPM does it (arXiv 2006.11239), one generator per clip."""
    generators = [torch.Generator().manual_seed(FURTHER_SEEDS + seed) for seed in seeds]
    place = 0

    def step(scheduler: Any, prediction: Tensor, timestep: Tensor, latents: Tensor) -> Tensor:
        nonlocal place
        now, then = Noising.at(scheduler, place), Noising.at(scheduler, place + 1)
        place += 1
        kept = min(1.0, then.spread * now.signal / (then.signal * now.spread))
        fresh = torch.stack([torch.randn(latents.shape[1:], generator=each) for each in generators]).to(latents)
        eps = kept * now.noise(latents, prediction) + math.sqrt(1 - kept**2) * fresh
        return then.signal * now.clean(latents, prediction) + then.spread * eps

    return step


@dataclass
class SecondOrder:
    """DPM-Solver++ (2M) (Lu et al., arXiv 2211.01095): the clean latents are extrapolated from two steps."""

    place: int = 0
    before: Tensor | None = None
    """The clean latents that the last step's prediction meant."""
    ratios: list[float] = field(default_factory=list)

    def __call__(self, scheduler: Any, prediction: Tensor, timestep: Tensor, latents: Tensor) -> Tensor:
        now, then = Noising.at(scheduler, self.place), Noising.at(scheduler, self.place + 1)
        clean = now.clean(latents, prediction)
        self.ratios.append(now.log_ratio())
        towards = clean
        # The first and the last step are of first order, as in the paper.
        if self.before is not None and then.spread > 0 and math.isfinite(self.ratios[-2]):
            share = (then.log_ratio() - self.ratios[-1]) / (self.ratios[-1] - self.ratios[-2]) / 2
            towards = clean + share * (clean - self.before)
        self.place, self.before = self.place + 1, clean
        return then.signal * towards + then.spread / now.spread * (latents - now.signal * towards)


SAMPLERS: dict[str, Callable[[Sequence[int]], Step]] = {"ancestral": ancestral, "DPM-Solver++": lambda seeds: SecondOrder()}
"""By name: makes the steps of one sampling run from the clips' seeds."""
