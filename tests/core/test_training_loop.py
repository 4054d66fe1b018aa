"""The training loop by itself, on three numbers: what an interruption leaves is a state that a training run really had."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from t2vu_core.training.checkpoint import Checkpoint, TrainingState
from t2vu_core.training.loop import train
from t2vu_core.training.schedule import Schedule

STEPS = 10


def trained(folder: Path) -> tuple[Tensor, list[float]]:
    """Parameters and losses of a training run that keeps its state in the folder, or goes on from there."""
    parameter = nn.Parameter(torch.ones(3))

    def loss_at(step: int) -> Tensor:
        target = torch.randn(3, generator=torch.Generator().manual_seed(step))
        return (parameter - target).square().sum()

    checkpoint = Checkpoint(folder / "state.safetensors", "a training run", every=4)
    losses = train({"parameter": parameter}, loss_at, Schedule(STEPS, 0.1), state=TrainingState(checkpoint))
    return parameter.detach(), losses


def test_ctrl_c_inside_an_update_leaves_no_half_of_it_to_resume_from(tmp_path: Path) -> None:
    updates = 0

    def press_ctrl_c(*_: object) -> None:
        nonlocal updates
        updates += 1
        if updates == 6:
            raise KeyboardInterrupt

    handle = register_optimizer_step_post_hook(press_ctrl_c)
    try:
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "log")
    finally:
        handle.remove()
    parameter, losses = trained(tmp_path / "log")
    whole, whole_losses = trained(tmp_path / "whole")
    assert losses == whole_losses
    assert torch.equal(parameter, whole)


def test_the_learning_rate_warms_up_and_falls_to_a_twentieth() -> None:
    """On a constant gradient, Adam's update is the learning rate itself."""
    parameter, places = nn.Parameter(torch.zeros((), dtype=torch.float64)), [0.0]
    train(
        {"parameter": parameter}, lambda step: -parameter, Schedule(100, 0.5),
        on_step=lambda step, loss: places.append(parameter.item()),
    )  # fmt: skip
    rates = [later - earlier for earlier, later in pairwise(places)]
    assert rates[0] == pytest.approx(0.05, rel=1e-4), "a tenth of it, as one of ten steps of warm-up"
    assert rates[9] == pytest.approx(0.5, rel=1e-4) == max(rates)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.025, rel=0.05)
