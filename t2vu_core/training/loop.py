"""The training loop of every method: Adam on a schedule, saved and resumed, and no step on a loss that is not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from t2vu_core.errors import NotFinite
from t2vu_core.training.before_step import BeforeStep
from t2vu_core.training.checkpoint import TrainingState
from t2vu_core.training.schedule import Schedule
from t2vu_core.training.workers import Workers

OnStep = Callable[[int, float], None]
"""Called after every step with the number of steps done and the loss."""


NO_FACTORS: Mapping[str, float] = MappingProxyType({})


class TrainingDiverged(NotFinite):
    """A loss, gradient or parameter is not finite. The state before that step is kept; `losses` are of the steps before it."""

    losses: Sequence[float] = ()


class StopEarly(Exception):
    """Raised by a progress callback: end the run now and use what was trained so far."""


class Pause(StopEarly):
    """Raised by a progress callback: end the run now and resume it later. `train` passes it on once the state is saved.

    A run without a checkpoint, or whose state cannot be written, cannot be resumed: it then ends as by StopEarly.
    """


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step: they depend only on seed and step, so that a resumed run draws the same."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


def train(
    parameters: Mapping[str, nn.Parameter],
    loss_at: Callable[[int], Tensor],
    schedule: Schedule,
    *,
    state: TrainingState | None = None,
    on_step: OnStep | None = None,
    workers: Workers | None = None,
    factors: Mapping[str, float] = NO_FACTORS,
) -> list[float]:
    """Minimise `loss_at(step)` over the schedule's steps; returns the losses. `factors` of the learning rate are by parameter.

    A state with a checkpoint resumes where the saved one ends; it is saved every few steps, at the end, and when an
    exception ends the run. `on_step` and `loss_at` may raise StopEarly to end the run and keep it, or Pause. With several
    `workers`, `loss_at` gives this process's part of the loss, and only the first process saves. Raises
    TrainingDiverged, naming the step, if the loss, the gradient or an updated parameter is not finite; the parameters are
    then those before that step.
    """
    optimizer = _optimizer(parameters, schedule.peak, factors)
    workers, state = workers or Workers(), state or TrainingState()
    state.restore(parameters, optimizer, steps=schedule.steps)
    losses, saves = state.losses, state.checkpoint if workers.first else None
    stop: StopEarly | None = None
    whole, before = True, BeforeStep(parameters.values(), optimizer)
    try:
        while len(losses) < schedule.steps and not workers.any(stop is not None):
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate(len(losses)) * group["factor"]
            loss = _backward(loss_at, parameters.values(), workers, len(losses))
            whole = False
            _update(optimizer, before, workers, len(losses))
            losses.append(loss)
            whole = True
            if saves and len(losses) % saves.every == 0:
                state.save(parameters, optimizer)
            stop = _wants_to_stop(on_step, losses)
    except StopEarly as error:
        stop = error
    except TrainingDiverged as error:
        error.losses, whole = losses, True
        raise
    finally:
        # Ctrl-C inside an update leaves parameters of no step; then the last saved state is the valid one.
        if saves and losses and whole:
            state.save(parameters, optimizer)
    if isinstance(stop, Pause) and state.saved_steps == len(losses) < schedule.steps:
        raise stop
    return losses


def _optimizer(parameters: Mapping[str, nn.Parameter], rate: float, factors: Mapping[str, float]) -> torch.optim.Optimizer:
    """Adam with one group of parameters per factor of the learning rate."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        groups.setdefault(factors.get(name, 1.0), []).append(parameter)
    return torch.optim.Adam([{"params": own, "factor": factor} for factor, own in groups.items()], lr=rate)


def train_while_finite(
    parameters: Mapping[str, nn.Parameter], loss_at: Callable[[int], Tensor], schedule: Schedule, **options: Any
) -> tuple[list[float], str | None]:
    """`train`, but a loss that is not finite ends the run early: returns the losses before it, and the error message.

    Raises TrainingDiverged if the first step already fails.
    """
    try:
        return train(parameters, loss_at, schedule, **options), None
    except TrainingDiverged as error:
        if not error.losses:
            raise
        return list(error.losses), str(error)


def _wants_to_stop(on_step: OnStep | None, losses: list[float]) -> StopEarly | None:
    try:
        if on_step is not None:
            on_step(len(losses), losses[-1])
    except StopEarly as stop:
        return stop
    return None


def _update(optimizer: torch.optim.Optimizer, before: BeforeStep, workers: Workers, step: int) -> None:
    """Update the parameters. Raises TrainingDiverged, with the state as it was, if one of them is no longer finite."""
    before.keep()
    optimizer.step()
    if workers.any(not before.is_finite()):
        before.restore()
        raise TrainingDiverged(f"A parameter became inf or NaN at step {step}. Lower the learning rate or eta.")


def _backward(loss_at: Callable[[int], Tensor], parameters: Iterable[nn.Parameter], workers: Workers, step: int) -> float:
    """Compute the gradients of a step, clipped to norm 1; returns the loss."""
    parameters = list(parameters)
    part = loss_at(step)
    loss = workers.total(part.detach())
    if not torch.isfinite(loss):
        raise TrainingDiverged(f"The loss became {loss.item()} at step {step}. Lower the learning rate or eta.")
    for parameter in parameters:
        parameter.grad = None
    if workers.count == 1 or part.requires_grad:
        part.backward()
    workers.add_up_gradients(parameters)
    norm = nn.utils.clip_grad_norm_(parameters, 1.0)
    if not torch.isfinite(norm):
        raise TrainingDiverged(f"The gradient became {norm.item()} at step {step}. Lower the learning rate or eta.")
    return loss.item()
