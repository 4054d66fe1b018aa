"""The training loop of every method: Adam, a warm start, a smooth end, and no step on a broken loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


class TrainingDiverged(RuntimeError):
    """The loss stopped being a number; the last good state was kept."""


@dataclass
class TrainingLog:
    """What happened, step by step."""

    losses: list[float] = field(default_factory=list)


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step: they depend on seed and step only, so that a resumed training draws the same."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up over the first tenth (at most 20 steps), then a cosine to a twentieth."""
    warm = max(1, min(20, steps // 10))
    if step < warm:
        return (step + 1) / warm
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def train(
    parameters: Iterable[nn.Parameter],
    loss_at: Callable[[int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    on_step: Callable[[int, float], None] | None = None,
) -> TrainingLog:
    """Minimise `loss_at(step)` over `steps` steps. Raises TrainingDiverged, naming the step, on a loss that is NaN."""
    parameters = list(parameters)
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    log = TrainingLog()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * learning_rate_factor(step, steps)
        loss = loss_at(step)
        if not torch.isfinite(loss):
            raise TrainingDiverged(f"The loss became {loss.item()} at step {step}. Lower the learning rate or eta.")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        log.losses.append(loss.item())
        if on_step is not None:
            on_step(step + 1, log.losses[-1])
    return log
