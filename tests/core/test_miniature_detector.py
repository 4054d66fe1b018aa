"""The detectors of both worlds: one class, trained for seconds here, for minutes in a build."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from t2vu_core.miniature.detector import MiniatureDetector, load_detector
from t2vu_core.miniature.world import WORLD_32, WORLD_64, World, render, sample_labels
from t2vu_core.miniature_build.check import attribute_scores
from t2vu_core.miniature_build.detector_training import _loss, train_detector


def clips_of(world: World, count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = sample_labels(count, generator, world=world)
    return render(labels, generator, world=world), labels


def train(detector: MiniatureDetector, seconds: float, **options: object) -> None:
    train_detector(detector, seconds=seconds, seed=0, num_clips=24, batch_size=4, **options)  # type: ignore[arg-type]


def loss_of(detector: MiniatureDetector) -> float:
    clips, labels = clips_of(detector.world, 24)
    with torch.no_grad():
        return _loss(detector, clips, labels, torch.Generator().manual_seed(0), strength=0).item()


@pytest.mark.parametrize("world", [WORLD_32, WORLD_64])
def test_a_saved_detector_is_loaded_for_its_own_world_and_judges_alike(world: World, tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = MiniatureDetector(world).eval()
    clips, labels = clips_of(world, 3)
    save_file(detector.state_dict(), str(tmp_path / "detector.safetensors"))
    loaded = load_detector(tmp_path / "detector.safetensors")
    assert loaded.world == world
    verdict = loaded.judge(clips)
    assert torch.equal(verdict.subjects, detector.judge(clips).subjects)
    assert verdict.subjects_by_frame.shape == (3, 9, len(world.subjects))
    last = world.subjects[-1]
    assert torch.equal(verdict.shows(last), verdict.subjects[:, -1] > 0.5)
    assert set(attribute_scores(verdict, labels)) == {"subject", "style", "motion", "background"}


def test_a_detector_of_64_pixels_fits_the_package() -> None:
    halves = sum(2 * value.numel() for value in MiniatureDetector(WORLD_64).state_dict().values())
    assert halves <= 1.2 * 2**20


def test_training_learns_and_sees_the_reconstructions() -> None:
    torch.manual_seed(0)
    detector = MiniatureDetector(WORLD_64)
    before, given = loss_of(detector), []

    def reconstruct(clips: Tensor) -> Tensor:
        given.append(clips.shape)
        return clips * 0.9

    train(detector, 10, reconstruct=reconstruct)
    assert given == [(24, 9, 3, 64, 64)]
    # How many steps fit into the seconds depends on the machine.
    assert loss_of(detector) < 0.97 * before


def test_an_interrupted_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """With the budget spent nothing is trained again; with a larger one the steps go on from the state."""
    state = tmp_path / "state.pt"
    torch.manual_seed(0)
    train(MiniatureDetector(), 2, state=state)
    first = torch.load(state, weights_only=True)
    resumed = MiniatureDetector()
    train(resumed, 2, state=state)
    assert torch.load(state, weights_only=True)["step"] == first["step"] > 0
    for parameter, value in zip(resumed.parameters(), first["average"], strict=True):
        assert torch.equal(parameter, value)
    train(MiniatureDetector(), 4, state=state)
    assert torch.load(state, weights_only=True)["step"] > first["step"]
