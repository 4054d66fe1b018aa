"""Trainings that keep their state by themselves: found again, apart from each other, few, and gone with their end."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from t2vu_core.erasure import Erasure
from t2vu_core.errors import Cancelled
from t2vu_core.model import T2VModel, load_model
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.few_shot.train import unlearn_encoder
from t2vu_core.training.loop import StopEarly
from t2vu_core.training.own_folders import KEPT, STATE
from t2vu_core.training.progress import TrainProgress
from t2vu_core.training.velocity.train import erase_velocity
from tests.core import tiny_few_shot
from tests.core.full_disk import left, small_disk
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]


def velocity(concept: str = "ghost", model: T2VModel | None = None, **changes: Any) -> Erasure:
    recipe = VelocityRecipe(
        concept_trajectories=2, preserve_trajectories=2, trajectory_steps=2, steps=6, rank=4, eta=20.0, trajectory_cache="disk",
    )  # fmt: skip
    return erase_velocity(model or TINY.model, concept, recipe, **changes)


def few_shot(concept: str = "ghost", **changes: Any) -> Erasure:
    return unlearn_encoder(tiny_few_shot.TINY.model, concept, tiny_few_shot.recipe(steps=6), **changes)


def at(step: int, what: type[Exception], seen: list[int] | None = None) -> Callable[[TrainProgress], None]:
    """Raises after that step; notes the steps that were trained."""

    def on_progress(progress: TrainProgress) -> None:
        if progress.stage == "training":
            if seen is not None:
                seen.append(progress.step)
            if progress.step == step:
                raise what

    return on_progress


@pytest.mark.parametrize("training", [velocity, few_shot])
@pytest.mark.parametrize("stopped", [Cancelled, StopEarly])
def test_the_same_call_goes_on_and_another_training_run_starts_from_the_beginning(
    tmp_path: Path, training: Callable[..., Erasure], stopped: type[Exception]
) -> None:
    whole = training()
    try:
        assert len(training(unfinished_folder=tmp_path, on_progress=at(3, stopped)).training["losses"]) == 3
    except Cancelled:
        assert stopped is Cancelled
    (kept,) = tmp_path.iterdir()
    training("clown", unfinished_folder=tmp_path)
    assert list(tmp_path.iterdir()) == [kept], "a training run that ended leaves nothing, and takes nothing of others with it"
    seen: list[int] = []
    resumed = training(unfinished_folder=tmp_path, on_progress=at(0, Cancelled, seen))
    assert seen == [4, 5, 6]
    assert whole.training["losses"] == resumed.training["losses"]
    assert all(torch.equal(whole.tensors[name], resumed.tensors[name]) for name in whole.tensors)
    assert not list(tmp_path.iterdir())


def test_another_image_model_begins_another_training(tmp_path: Path) -> None:
    video, settings = tiny_few_shot.VIDEO, tiny_few_shot.recipe(steps=6, **tiny_few_shot.small(tiny_few_shot.VIDEO))
    seen: list[int] = []
    for image_model in (tiny_few_shot.twin(), None):
        with pytest.raises(Cancelled):
            unlearn_encoder(
                video.model, "ghost", settings, image_model=image_model, unfinished_folder=tmp_path,
                on_progress=at(3, Cancelled, seen),
            )  # fmt: skip
    assert seen == [1, 2, 3] * 2


def test_another_precision_begins_another_training_and_the_same_eraser_below_does_not(tmp_path: Path) -> None:
    halves = load_model(TINY.folder, dtype=torch.bfloat16, device="cpu")
    # Trained twice, as after a server that died: the same but for the date.
    below = [TINY.model.with_erasure(velocity("clown")) for _ in range(2)]
    seen: list[int] = []
    for model in (TINY.model, halves, below[0], below[1]):
        with pytest.raises(Cancelled):
            velocity(model=model, unfinished_folder=tmp_path, on_progress=at(3 + (model is below[1]), Cancelled, seen))
    assert seen == [*[1, 2, 3] * 3, 4]


def test_the_file_tells_the_seconds_of_all_lives(tmp_path: Path) -> None:
    def slow(progress: TrainProgress) -> None:
        if progress.stage == "training":
            time.sleep(0.2)
            if progress.step == 4:
                raise StopEarly

    few_shot(unfinished_folder=tmp_path, on_progress=slow)
    began = time.monotonic()
    told = few_shot(unfinished_folder=tmp_path).training["seconds"]
    assert told > time.monotonic() - began + 0.5, "the four slow steps of the first life count"


def test_only_the_newest_unfinished_trainings_are_kept(tmp_path: Path) -> None:
    (tmp_path / "of the user").mkdir()
    ages, left = itertools.count(), []
    for concept in ("ghost", "clown", "robot", "cat"):
        velocity(concept, unfinished_folder=tmp_path, on_progress=at(2, StopEarly))
        (new,) = {path for path in tmp_path.iterdir() if path.name != "of the user"} - set(left)
        left.append(new)
        age = next(ages)
        os.utime(new, (age, age))
    assert KEPT == 3
    assert [path.exists() for path in left] == [False, True, True, True]
    assert (tmp_path / "of the user").is_dir()


@pytest.mark.parametrize("training", [velocity, few_shot])
def test_a_state_of_another_version_is_kept_and_the_user_is_told_that_the_training_starts_over(
    tmp_path: Path, training: Callable[..., Erasure], caplog: pytest.LogCaptureFixture
) -> None:
    for concept in ("ghost", "clown"):
        training(concept, unfinished_folder=tmp_path, on_progress=at(2, StopEarly))
    older, of_0_1 = (tmp_path / name for name in ("0" * 16, "1" * 16))
    for path in list(tmp_path.iterdir()):
        told = _facts(path)["about"] == "ghost"
        path.rename(older if told else of_0_1)
        _rewrite(older if told else of_0_1, {"version": "0.1.9"} if told else {"version": None, "about": None})
        os.utime(older if told else of_0_1, (told, told))
    notices: list[str] = []
    for seed, concept in enumerate(("ghost", "cat", "robot", "dog", "dog")):
        heard: list[TrainProgress] = []
        with pytest.raises(Cancelled):
            training(concept, unfinished_folder=tmp_path, on_progress=_stopped_after(heard))
        notices.append(" ".join(each.notice for each in heard if each.notice))
        assert seed < 4 or [each.step for each in heard if each.stage == "training"] == [3], "its own state is gone on with"
    assert all((path / STATE).is_file() for path in (older, of_0_1)), "only the states of this version make room"
    assert all(part in notices[0] for part in (str(older), "starts from the beginning", "version 0.2.0"))
    assert all(str(of_0_1) in each for each in notices[1:4]), "0.1 did not note what a state is about"
    assert notices[4] == ""
    assert notices[0] in caplog.text


def _stopped_after(heard: list[TrainProgress]) -> Callable[[TrainProgress], None]:
    """Notes every event, and ends the run when two steps, or one more than were saved, are done."""

    def on_progress(progress: TrainProgress) -> None:
        heard.append(progress)
        if progress.stage == "training" and progress.step >= 2:
            raise Cancelled

    return on_progress


def _facts(folder: Path) -> dict[str, str]:
    with safe_open(str(folder / STATE), framework="pt") as file:
        return dict(file.metadata())


def _rewrite(folder: Path, changes: dict[str, str | None]) -> None:
    """Save the state of a folder with other metadata; None removes a fact."""
    facts = {name: value for name, value in (_facts(folder) | changes).items() if value is not None}
    save_file(load_file(str(folder / STATE)), str(folder / STATE), facts)


def test_a_full_disk_ends_no_training_that_was_not_asked_to_write_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "full") as folder:
        assert len(few_shot(unfinished_folder=folder).training["losses"]) == 6
        assert left(folder) == []
    assert "No space left on device" in caplog.text
    assert "Nothing was left there. The training goes on" in caplog.text
