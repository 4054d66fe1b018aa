"""The training loop of every method: Adam, a warm start, a smooth end, and no step on a broken loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from t2vu_core.training.checkpoint import Checkpoint


class TrainingDiverged(RuntimeError):
    """The loss stopped being a number; the state before that step was kept."""


class StopEarly(Exception):
    """Raised by a progress callback: end the training now and use what was trained so far."""


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
    parameters: Mapping[str, nn.Parameter],
    loss_at: Callable[[int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    checkpoint: Checkpoint | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Minimise `loss_at(step)` over `steps` steps; returns the losses.

    With a checkpoint it goes on where a saved state ends, and saves one every few steps, at the end, and
    when anything stops it. `on_step(step, loss)` may raise StopEarly to end the training and keep it.
    Raises TrainingDiverged, naming the step, on a loss that is NaN or infinite.
    """
    optimizer = torch.optim.Adam(parameters.values(), lr=learning_rate)
    losses = checkpoint.load(parameters, optimizer) if checkpoint else []
    try:
        while len(losses) < steps:
            losses.append(_step(parameters, optimizer, loss_at, len(losses), steps, learning_rate))
            if checkpoint and len(losses) % checkpoint.every == 0:
                checkpoint.save(parameters, optimizer, losses)
            if on_step is not None:
                on_step(len(losses), losses[-1])
    except StopEarly:
        pass
    finally:
        if checkpoint and losses:
            checkpoint.save(parameters, optimizer, losses)
    return losses


def _step(
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    loss_at: Callable[[int], Tensor],
    step: int,
    steps: int,
    learning_rate: float,
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * learning_rate_factor(step, steps)
    loss = loss_at(step)
    if not torch.isfinite(loss):
        raise TrainingDiverged(f"The loss became {loss.item()} at step {step}. Lower the learning rate or eta.")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(parameters.values(), 1.0)
    if not torch.isfinite(norm):
        raise TrainingDiverged(f"The gradient became {norm.item()} at step {step}. Lower the learning rate or eta.")
    optimizer.step()
    return loss.item()
