"""An update that makes a parameter inf or NaN: the state before it is kept, and the file says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook

from t2vu_core.erasure import Erasure
from t2vu_core.training.few_shot.train import unlearn_encoder
from t2vu_core.training.loop import TrainingDiverged
from t2vu_core.training.velocity.train import erase_velocity
from tests.core import tiny_few_shot, tiny_training
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]


def velocity(**options: Any) -> Erasure:
    return erase_velocity(TINY.model, "ghost", tiny_training.recipe(), **options)


def few_shot(**options: Any) -> Erasure:
    return unlearn_encoder(tiny_few_shot.TINY.model, "ghost", tiny_few_shot.recipe(steps=6), **options)


@pytest.fixture
def break_update() -> Iterator[Callable[[int, float], None]]:
    """Makes the update of that number put a value into a parameter, as an overflow does."""
    handles = []

    def at(update: int, value: float) -> None:
        done = 0

        def overflow(optimizer: torch.optim.Optimizer, *_: object) -> None:
            nonlocal done
            done += 1
            if done == update:
                with torch.no_grad():
                    optimizer.param_groups[0]["params"][-1].view(-1)[0] = value

        handles.append(register_optimizer_step_post_hook(overflow))

    yield at
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("training", [velocity, few_shot])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_the_last_finite_state_is_kept_and_resumed(
    tmp_path: Path, training: Callable[..., Erasure], value: float, break_update: Callable[[int, float], None]
) -> None:
    whole = training()
    break_update(4, value)
    erasure = training(log_folder=tmp_path)
    assert erasure.training["steps"] == 3
    assert "at step 3" in erasure.training["diverged"]
    assert "at step 3" in erasure.training["warning"]
    assert all(torch.isfinite(tensor).all() for tensor in erasure.tensors.values())
    assert Erasure.load(erasure.save(tmp_path / "ghost")).training["steps"] == 3
    assert all(torch.isfinite(tensor).all() for tensor in load_file(tmp_path / "state.safetensors").values())
    resumed = training(log_folder=tmp_path)
    assert resumed.training["losses"] == whole.training["losses"]
    assert all(torch.equal(whole.tensors[name], tensor) for name, tensor in resumed.tensors.items())


def test_a_first_update_that_overflows_leaves_no_state(tmp_path: Path, break_update: Callable[[int, float], None]) -> None:
    break_update(1, float("inf"))
    with pytest.raises(TrainingDiverged, match="inf or NaN at step 0"):
        velocity(log_folder=tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


def test_the_command_reports_it_like_a_loss_that_is_not_finite(
    tmp_path: Path, t2vu: Callable, break_update: Callable[[int, float], None]
) -> None:
    break_update(3, float("nan"))
    options = [part for name, value in tiny_training.FEW.items() for part in ("--method-option", f"{name}={value}")]
    model = ["--model", TINY.folder, "--device", "cpu", "--concept", "ghost"]
    code, out, error = t2vu("erase", *model, "--out", tmp_path / "ghost", *options, "--json")
    assert code == 0, error
    told = json.loads(out)
    assert (told["steps"], told["stopped"]) == (2, False)
    assert told["diverged"] == "A parameter became inf or NaN at step 2. Lower the learning rate or eta."
    assert told["diverged"] in told["warning"]
