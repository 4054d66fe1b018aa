"""Trajectories on disk: the training is that of memory bit for bit, a resume finds them again, and nothing is left over."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from t2vu_core.errors import Cancelled, UserError
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.progress import TrainProgress
from t2vu_core.training.velocity.train import erase_velocity
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
# More prompts than one batch holds, masks of some of them only, and two refreshes.
FEW = {
    "concept_trajectories": 10, "preserve_trajectories": 3, "two_subject_trajectories": 2, "trajectory_steps": 2, "steps": 6,
    "rank": 4, "eta": 20.0, "learning_rate": 1e-2, "refresh_every": 2, "localization_weight": 1.0,
    "kind": "bottleneck",
}  # fmt: skip


def recipe(**changes: Any) -> VelocityRecipe:
    return VelocityRecipe.preset("quick", **{**FEW, **changes})


def stages(seen: list[str], *, stop_at: int | None = None) -> Callable[[TrainProgress], None]:
    """Notes the stages, and cancels the training at a step."""

    def on_progress(progress: TrainProgress) -> None:
        seen.append(progress.stage)
        if progress.stage == "training" and progress.step == stop_at:
            raise Cancelled

    return on_progress


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's temporary folders lie, but not the model's."""
    assert TINY.model.family
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("localization", [0.0, 1.0])
def test_training_from_disk_is_training_from_memory_bit_for_bit(temporary: Path, localization: float) -> None:
    on_disk: list[Path] = []

    def look(progress: TrainProgress) -> None:
        if progress.stage == "training" and progress.step == 3:
            on_disk.extend(temporary.rglob("*.safetensors"))

    changes = {"localization_weight": localization}
    memory = erase_velocity(TINY.model, "ghost", recipe(**changes))
    disk = erase_velocity(TINY.model, "ghost", recipe(trajectory_cache="disk", **changes), on_progress=look)
    assert memory.training["losses"] == disk.training["losses"]
    assert all(torch.equal(memory.tensors[name], disk.tensors[name]) for name in memory.tensors)
    assert memory.training["trajectory_bytes"] == disk.training["trajectory_bytes"]
    assert {path.parent.name for path in on_disk} >= {"concept", "two_subjects", "preserve", "concept-1"}
    assert not list(temporary.iterdir()), "the folder is left behind"


def test_a_resumed_training_finds_its_trajectories_and_ends_as_if_never_stopped(tmp_path: Path) -> None:
    asked, seen = recipe(trajectory_cache="disk", refresh_every=0), []
    whole = erase_velocity(TINY.model, "ghost", asked)
    with pytest.raises(Cancelled):
        erase_velocity(TINY.model, "ghost", asked, log_folder=tmp_path, on_progress=stages([], stop_at=3))
    resumed = erase_velocity(TINY.model, "ghost", asked, log_folder=tmp_path, on_progress=stages(seen))
    assert "trajectories" not in seen, "trajectories were sampled again"
    assert whole.training["losses"] == resumed.training["losses"]
    assert all(torch.equal(whole.tensors[name], resumed.tensors[name]) for name in whole.tensors)
    assert not (tmp_path / "trajectories").exists(), "nothing goes on from a finished training"


@pytest.mark.parametrize("step", [2, 3, 5])
def test_an_on_policy_training_on_disk_resumes_bit_for_bit(tmp_path: Path, step: int) -> None:
    asked = recipe(trajectory_cache="disk")
    whole = erase_velocity(TINY.model, "ghost", recipe())
    with pytest.raises(Cancelled):
        erase_velocity(TINY.model, "ghost", asked, log_folder=tmp_path, on_progress=stages([], stop_at=step))
    resumed = erase_velocity(TINY.model, "ghost", asked, log_folder=tmp_path)
    assert whole.training["losses"] == resumed.training["losses"]


def test_torn_files_and_those_of_another_training_are_sampled_again(tmp_path: Path) -> None:
    asked = recipe(trajectory_cache="disk", refresh_every=0)
    for folder, concept in (("a", "ghost"), ("b", "clown")):
        with pytest.raises(Cancelled):
            erase_velocity(TINY.model, concept, asked, log_folder=tmp_path / folder, on_progress=stages([], stop_at=3))
    ours, others = tmp_path / "a" / "trajectories", tmp_path / "b" / "trajectories"
    shutil.rmtree(ours / "concept")
    shutil.copytree(others / "concept", ours / "concept")
    torn = ours / "preserve" / "00000.safetensors"
    torn.write_bytes(torn.read_bytes()[:-7])
    resumed = erase_velocity(TINY.model, "ghost", asked, log_folder=tmp_path / "a")
    assert resumed.training["losses"] == erase_velocity(TINY.model, "ghost", asked).training["losses"]


def test_a_cancel_among_the_trajectories_leaves_no_half_a_file(tmp_path: Path, temporary: Path) -> None:
    def stop(progress: TrainProgress) -> None:
        if progress.step == 8:
            raise Cancelled

    for log_folder in (None, tmp_path / "log"):
        with pytest.raises(Cancelled):
            erase_velocity(TINY.model, "ghost", recipe(trajectory_cache="disk"), log_folder=log_folder, on_progress=stop)
    assert not list(temporary.iterdir())
    assert not [path for path in (tmp_path / "log").rglob("*") if path.is_file()]


def test_a_disk_without_room_is_told_before_anything_is_written(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    usage = shutil.disk_usage(temporary)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"The trajectories take .* MB, and .* has 0\.0 MB left"):
        erase_velocity(TINY.model, "ghost", recipe(trajectory_cache="disk"))


@pytest.mark.parametrize(("cache", "place"), [("memory", "in memory"), ("disk", "on disk in ")])
def test_the_size_is_told_before_the_first_trajectory_and_is_what_they_take(
    caplog: pytest.LogCaptureFixture, cache: str, place: str
) -> None:
    told: list[str] = []
    notes: dict[str, str] = {}

    def look(progress: TrainProgress) -> None:
        if progress.stage == "trajectories":
            told.append(caplog.text)
        notes.setdefault(progress.stage, progress.note)

    with caplog.at_level(logging.INFO, logger="t2vu_core"):
        erasure = erase_velocity(TINY.model, "ghost", recipe(trajectory_cache=cache), on_progress=look)
    size = f"{erasure.training['trajectory_bytes'] / 1e6:.1f} MB"
    assert f"15 trajectories of 2 steps: {size} {place}" in told[0]
    assert notes == {"encoding": "", "trajectories": f"{size} {place.removesuffix(' in ')}", "training": ""}
