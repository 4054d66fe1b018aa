"""Export LoRA says what merging into fp8 weights does to the change, on the trained weights of the miniature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from t2vu_core import Erasure, T2VModel, load_model
from t2vu_core.cli import main
from t2vu_core.erasers import EraserSet
from t2vu_core.interchange.lora_files import lora_pairs
from t2vu_core.interchange.merge_error import FP8, MergedInto, MergeError, merge_error, rounded_at_random


@pytest.fixture(scope="module")
def model() -> T2VModel:
    return load_model("miniature", device="cpu")


def lora(model: T2VModel, share: float) -> Erasure:
    """A random LoRA that changes every weight matrix by about this share of it."""
    erasers, generator = EraserSet.create(model.family.lora_sites(), rank=4, seed=0), torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(value.shape, generator=generator) for name, value in erasers.named_tensors().items()}
    for site in model.family.lora_sites():
        down, up = (f"{site.name}.lora_{letter}.weight" for letter in "AB")
        weight = site.module.get_parameter("weight")
        tensors[up] *= share * weight.detach().norm() / (tensors[up] @ tensors[down]).norm()
    return Erasure("eraser", ("ghost",), model.base, tensors, "random, for tests")


def measured(model: T2VModel, share: float) -> MergeError:
    weights = {site.name: site.module.get_parameter("weight") for site in model.family.lora_sites()}
    return merge_error(lora_pairs(lora(model, share)), lambda name: MergedInto(weights[name]), simulated=True)


def test_a_small_change_is_lost_in_fp8_and_a_large_one_arrives(model: T2VModel) -> None:
    small, large = measured(model, 0.005), measured(model, 0.3)
    assert small.change == pytest.approx(0.005, rel=0.1)
    assert large.change == pytest.approx(0.3, rel=0.1)
    assert small.error > 2, "the error is larger than the change"
    assert "times as large as the change" in str(small)
    assert large.error < 0.2
    assert "% of the change" in str(large)
    assert not small.tolerable


def test_numbers_are_rounded_to_fp8_neighbours_with_the_right_mean() -> None:
    values = torch.linspace(-500, 500, 4001) * torch.logspace(-6, 0, 4001)
    draws = torch.stack([rounded_at_random(values, torch.Generator().manual_seed(seed)) for seed in range(400)])
    assert torch.equal(draws, draws.to(FP8).float())
    inside = values.abs() < 448
    spacing = draws.amax(0) - draws.amin(0)
    assert float(((draws.mean(0) - values).abs() / spacing.clamp_min(1e-9))[inside & (spacing > 0)].max()) < 0.15


def test_the_command_measures_it(model: T2VModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(lora(model, 0.005).save(tmp_path / "ghost"))
    arguments = ["export", file, "--format", "comfyui", "--out", str(tmp_path / "x"), "--model", "miniature"]
    assert main([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["fp8_error"] > 2
    assert main(arguments) == 0
    assert "Apply Eraser (MODEL) merges nothing" in capsys.readouterr().out
    other = [*arguments[:-1], str(tmp_path)]
    assert main(other) == 2
