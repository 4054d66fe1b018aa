"""Rules of the training loop: what ends a run, what a step may change, and which processes share a model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from t2vu_core.errors import UserError
from t2vu_core.training.checkpoint import Checkpoint, TrainingState
from t2vu_core.training.loop import Pause, StopEarly, TrainingDiverged, step_generator, train, train_while_finite
from t2vu_core.training.schedule import Schedule
from t2vu_core.training.workers import Workers


def fit(weight: nn.Parameter, loss_at: Callable[[int], Tensor], how: Callable[..., Any] = train, **options: Any) -> Any:
    """Five steps on one parameter."""
    return how({"weight": weight}, loss_at, Schedule(5, 0.1), **options)


def pulled(weight: nn.Parameter, strengths: list[float]) -> Callable[[int], Tensor]:
    """A loss whose gradient in each step has the given strength."""
    return lambda step: -strengths[step] * weight.sum()


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_value_that_is_not_finite_ends_the_run_before_its_step(what: str) -> None:
    def loss_at(weight: nn.Parameter) -> Callable[[int], Tensor]:
        def loss(step: int) -> Tensor:
            broken = weight.sum() * float("inf") if what == "loss" else (0 * weight).sum().sqrt()
            return broken if step == 2 else weight.square().sum()

        return loss

    weight, seen = nn.Parameter(torch.ones(1)), list[Tensor]()
    with pytest.raises(TrainingDiverged, match=rf"The {what} became \w+ at step 2\. Lower the learning rate") as error:
        fit(weight, loss_at(weight), on_step=lambda step, loss: seen.append(weight.detach().clone()))
    assert len(error.value.losses) == len(seen) == 2
    assert torch.equal(weight, seen[-1])
    again = nn.Parameter(torch.ones(1))
    losses, broke = fit(again, loss_at(again), train_while_finite)
    assert losses == error.value.losses
    assert broke == str(error.value)


def test_a_run_whose_first_step_breaks_has_no_result() -> None:
    weight = nn.Parameter(torch.ones(1))
    with pytest.raises(TrainingDiverged, match="at step 0"):
        fit(weight, lambda step: weight.sum() * float("nan"), train_while_finite)


def test_a_huge_gradient_counts_no_more_than_a_usual_one() -> None:
    calm, hit = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    fit(calm, pulled(calm, [1.0] * 5))
    fit(hit, pulled(hit, [1.0, 1.0, 1e6, 1.0, 1.0]))
    torch.testing.assert_close(hit, calm, atol=1e-5, rtol=0)
    assert calm.item() > 0.1


def test_a_step_keeps_nothing_of_the_gradient_before() -> None:
    weight = nn.Parameter(torch.zeros(5))
    fit(weight, lambda step: -weight[step])
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, torch.tensor([0.0, 0.0, 0.0, 0.0, -1.0]))


@pytest.mark.parametrize("where", ["loss", "callback"])
def test_a_run_that_is_ended_early_keeps_its_steps(where: str, tmp_path: Path) -> None:
    weight = nn.Parameter(torch.zeros(1))

    def loss_at(step: int) -> Tensor:
        if where == "loss" and step == 3:
            raise StopEarly
        return -weight.sum()

    def on_step(step: int, loss: float) -> None:
        if where == "callback" and step == 3:
            raise StopEarly

    checkpoint = Checkpoint(tmp_path / "state.safetensors", "a run", every=100)
    assert len(fit(weight, loss_at, state=TrainingState(checkpoint), on_step=on_step)) == 3
    assert saved_weight(checkpoint.path) == weight.item() > 0


def test_a_paused_run_gives_no_result_unless_its_state_is_lost(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.zeros(1))

    def pause_at(last: int) -> Callable[[int, float], None]:
        def on_step(step: int, loss: float) -> None:
            if step == last:
                raise Pause

        return on_step

    options: dict[str, Any] = {
        "loss_at": pulled(weight, [1.0] * 5),
        "state": TrainingState(Checkpoint(tmp_path / "s", "a run")),
    }
    with pytest.raises(Pause):
        fit(weight, on_step=pause_at(3), **options)
    assert len(fit(weight, on_step=pause_at(5), **options)) == 5, "a run that has made its steps is complete"
    assert len(fit(weight, pulled(weight, [1.0] * 5), on_step=pause_at(3))) == 3, (
        "without a checkpoint the result is all there is"
    )


def test_the_state_is_saved_while_the_run_goes_on(tmp_path: Path) -> None:
    weight, path, saved = nn.Parameter(torch.zeros(1)), tmp_path / "state.safetensors", dict[int, float | None]()
    places: list[float] = [0.0]

    def look(step: int, loss: float) -> None:
        places.append(weight.item())
        saved[step] = saved_weight(path) if path.exists() else None

    fit(weight, pulled(weight, [1.0] * 5), state=TrainingState(Checkpoint(path, "a run", every=2)), on_step=look)
    assert saved == {1: None, 2: places[2], 3: places[2], 4: places[4], 5: places[4]}
    assert saved_weight(path) == places[5]


def test_a_state_of_other_settings_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    weight, path = nn.Parameter(torch.zeros(1)), tmp_path / "state.safetensors"
    fit(weight, pulled(weight, [1.0] * 5), state=TrainingState(Checkpoint(path, "a run")))
    content = path.read_bytes()
    with pytest.raises(UserError, match=r"is the state of another training .*(name|choose) another folder"):
        fit(weight, pulled(weight, [1.0] * 5), state=TrainingState(Checkpoint(path, "another run")))
    assert path.read_bytes() == content


def test_every_step_of_every_seed_draws_its_own_numbers_and_draws_them_again() -> None:
    drawn = [torch.rand(1, generator=step_generator(seed, step)).item() for seed in range(3) for step in range(5)]
    assert len(set(drawn)) == 15
    assert torch.rand(1, generator=step_generator(2, 4)).item() == drawn[-1]


def saved_weight(path: Path) -> float:
    """The parameter in a state's file."""
    with safe_open(str(path), framework="pt") as file:
        return float(file.get_tensor("parameter.weight"))


def test_one_process_alone_shares_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    state = SimpleNamespace(process_index=0, num_processes=1, device=torch.device("cpu"))
    assert not Workers._of(state).sharded
    assert Workers._of(SimpleNamespace(**{**vars(state), "num_processes": 2})).sharded


def test_a_launch_on_the_cpu_that_starts_one_process_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with caplog.at_level(logging.WARNING):
        assert Workers.join() == Workers()
    assert "--multi_gpu" in caplog.text
