"""The training loop of every method: Adam, a warm start, a smooth end, and no step on a broken loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from t2vu_core.training.checkpoint import Checkpoint
from t2vu_core.training.workers import Workers


class TrainingDiverged(RuntimeError):
    """The loss stopped being a number; the state before that step was kept, and `losses` are those of the steps before."""

    losses: Sequence[float] = ()


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
    workers: Workers | None = None,
) -> list[float]:
    """Minimise `loss_at(step)` over `steps` steps; returns the losses.

    With a checkpoint it goes on where a saved state ends, and saves one every few steps, at the end, and
    when anything stops it. `on_step(step, loss)` and `loss_at` may raise StopEarly to end the training and keep
    it. With several `workers`, `loss_at` gives this one's part of the loss, and only the first of them saves.
    Raises TrainingDiverged, naming the step, on a loss that is NaN or infinite.
    """
    optimizer = torch.optim.Adam(parameters.values(), lr=learning_rate)
    workers = workers or Workers()
    losses = checkpoint.load(parameters, optimizer) if checkpoint else []
    saved = checkpoint if workers.first else None
    stop, whole = False, True
    try:
        while len(losses) < steps and not workers.any(stop):
            loss = _gradients(parameters, optimizer, loss_at, len(losses), steps, learning_rate, workers)
            whole = False
            optimizer.step()
            losses.append(loss)
            whole = True
            if saved and len(losses) % saved.every == 0:
                saved.save(parameters, optimizer, losses)
            stop = _stops(on_step, losses)
    except StopEarly:
        pass
    except TrainingDiverged as error:
        error.losses = losses
        raise
    finally:
        # Ctrl-C inside an update leaves parameters that belong to no step: then the last saved state is the good one.
        if saved and losses and whole:
            saved.save(parameters, optimizer, losses)
    return losses


def train_while_finite(
    parameters: Mapping[str, nn.Parameter], loss_at: Callable[[int], Tensor], **options: Any
) -> tuple[list[float], str | None]:
    """`train`, which a broken loss ends as a stop does: the losses before it, and what happened (None if nothing).

    Raises TrainingDiverged where not one step was good.
    """
    try:
        return train(parameters, loss_at, **options), None
    except TrainingDiverged as error:
        if not error.losses:
            raise
        return list(error.losses), str(error)


def _stops(on_step: Callable[[int, float], None] | None, losses: list[float]) -> bool:
    """Tell how far it is; whether the caller has enough."""
    try:
        if on_step is not None:
            on_step(len(losses), losses[-1])
    except StopEarly:
        return True
    return False


def _gradients(
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    loss_at: Callable[[int], Tensor],
    step: int,
    steps: int,
    learning_rate: float,
    workers: Workers,
) -> float:
    """Learning rate and gradients of a step; returns the loss."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * learning_rate_factor(step, steps)
    part = loss_at(step)
    loss = workers.total(part.detach())
    if not torch.isfinite(loss):
        raise TrainingDiverged(f"The loss became {loss.item()} at step {step}. Lower the learning rate or eta.")
    optimizer.zero_grad(set_to_none=True)
    if workers.count == 1 or part.requires_grad:
        part.backward()
    workers.add_up_gradients(parameters.values())
    norm = nn.utils.clip_grad_norm_(parameters.values(), 1.0)
    if not torch.isfinite(norm):
        raise TrainingDiverged(f"The gradient became {norm.item()} at step {step}. Lower the learning rate or eta.")
    return loss.item()
