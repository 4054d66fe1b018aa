"""No space left, or no right to write: one sentence, nothing half-written, and no hours of work before it is said."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from t2vu_core.cli import main
from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.evaluation import WorldDetector
from t2vu_core.evaluation.cases import PromptSet
from t2vu_core.evaluation.report.page import write_report
from t2vu_core.interchange import export_lora
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.velocity.train import erase_velocity
from t2vu_core.video import save_video
from tests.core.full_disk import left, small_disk
from tests.core.test_evaluation import detector, measure, prompts  # noqa: F401
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
FULL = "No space left on device"


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "full") as folder:
        yield folder


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "read_only", read_only=True) as folder:
        yield folder


def test_an_erasure_is_not_half_written(full: Path) -> None:
    with pytest.raises(UserError, match=rf"Cannot write .*ghost\.safetensors: .*{FULL}") as said:
        TINY.random_erasure("bottleneck").save(full / "ghost")
    assert "\n" not in str(said.value)
    assert left(full) == []


def test_a_file_that_was_there_stays_whole(tmp_path: Path) -> None:
    with small_disk(tmp_path / "full", free=32 * 1024) as folder:
        path = TINY.random_erasure("bottleneck").save(folder / "ghost")
        before = path.read_bytes()
        (folder / "more").write_bytes(bytes(shutil.disk_usage(folder).free))
        with pytest.raises(UserError, match=FULL):
            TINY.random_erasure("bottleneck", scale=1.0).save(folder / "ghost")
        assert path.read_bytes() == before
        assert left(folder) == ["ghost.safetensors", "more"]


@pytest.mark.parametrize("suffix", [".mp4", ".webp", ".gif"])
def test_a_clip_is_not_half_written(full: Path, suffix: str) -> None:
    with pytest.raises(UserError, match=FULL):
        save_video(torch.rand(9, 3, 64, 64), full / f"clip{suffix}", fps=8)
    assert left(full) == []


def test_an_exported_lora_is_not_half_written(full: Path) -> None:
    with pytest.raises(UserError, match=FULL):
        export_lora(TINY.random_erasure("lora"), full / "ghost", layout="comfyui")
    assert left(full) == []


def test_a_report_is_not_half_written(full: Path, detector: WorldDetector, prompts: PromptSet) -> None:  # noqa: F811
    evaluation = measure(detector, prompts)
    with pytest.raises(UserError, match=FULL):
        write_report(evaluation, full / "report.html")
    assert left(full) == []


def test_the_log_of_a_training_run_is_not_half_written(full: Path) -> None:
    recipe = VelocityRecipe(concept_trajectories=2, preserve_trajectories=2, trajectory_steps=1, steps=2, rank=2)
    with pytest.raises(UserError, match=rf"Cannot write .*{FULL}"):
        erase_velocity(TINY.model, "ghost", recipe, log_folder=full)
    assert left(full) == []
    assert not TINY.model.family.pipeline.transformer.transformer_blocks[0].attn1._forward_hooks


def test_the_command_line_says_so_before_it_trains_or_samples(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", str(TINY.folder), "--device", "cpu"]
    for command in (
        ["erase", *model, "--concept", "ghost", "--out", str(full / "ghost.safetensors"), "--method-option", "steps=100000"],
        ["sample", *model, "--prompt", "a ghost", "--out", str(full / "deeper" / "clip.mp4"), "--steps", "1000"],
    ):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert FULL in said
        assert said.count("\n") == 1
    assert left(full) == []


def test_a_folder_that_cannot_be_written_is_named(read_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"Cannot write to .*read_only: Read-only file system"):
        TINY.random_erasure("lora").save(read_only / "ghost")
    model = ["--model", str(TINY.folder), "--device", "cpu"]
    assert main(["erase", *model, "--concept", "ghost", "--out", str(read_only / "ghost.safetensors")]) == 2
    assert "Read-only file system" in capsys.readouterr().err
    assert left(read_only) == []


def test_with_space_the_same_calls_write(tmp_path: Path) -> None:
    """The control: it is the disk that refuses, not the calls."""
    with small_disk(tmp_path / "roomy", free=1024 * 1024) as folder:
        path = TINY.random_erasure("bottleneck").save(folder / "ghost")
        assert Erasure.load(path).concepts == ("ghost",)
        save_video(torch.rand(9, 3, 64, 64), folder / "clip.mp4", fps=8)
        assert left(folder) == ["clip.mp4", "ghost.safetensors"]
