"""A training step means the same in models of any width."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.width import NARROW, SHAPES, against_narrow, main, shares
from t2vu_core.erasers import EraserSet
from t2vu_core.families.eraser_site import EraserSite, edit_whole
from t2vu_core.recipes import EraserType, VelocityRecipe
from t2vu_core.training.loop import train
from t2vu_core.training.schedule import Schedule

STEPS = 8


def moved(width: int, *, scaled: bool) -> float:
    """|eraser(h)| / |h| after the first steps towards removing half of a few directions of h."""
    generator = torch.Generator().manual_seed(0)
    site = EraserSite("block", nn.Identity(), width, edit_whole)
    erasers = EraserSet.create([site], rank=32, seed=0)
    ((_, eraser),) = erasers.items()
    directions = torch.randn(4, width, generator=generator)

    def hidden() -> tuple[torch.Tensor, torch.Tensor]:
        known = torch.randn(128, 4, generator=generator)
        return torch.randn(128, width, generator=generator) + known @ directions, -0.5 * known.abs() @ directions

    def loss_at(step: int) -> torch.Tensor:
        h, wanted = hidden()
        return (eraser(h) - wanted).square().mean()

    factors = erasers.step_factors() if scaled else {}
    train(dict(erasers.named_parameters()), loss_at, Schedule(STEPS, 2e-3), factors=factors)
    h, _ = hidden()
    return float(eraser(h).detach().norm() / h.norm())


def test_the_first_steps_move_a_wide_model_by_the_share_of_a_narrow_one() -> None:
    narrow, wide, unscaled = moved(192, scaled=True), moved(3072, scaled=True), moved(3072, scaled=False)
    assert narrow == moved(192, scaled=False), "nothing changes at the width that settings were chosen at"
    assert 0.5 < wide / narrow < 2
    assert unscaled / narrow > 3


def test_only_what_reads_the_width_is_scaled_and_narrow_sites_are_not() -> None:
    sites = [EraserSite(f"at {width}", nn.Identity(), width, edit_whole) for width in (64, 192, 1920)]
    sites += [EraserSite("lora", nn.Linear(768, 8), 8, edit_whole, "lora")]
    factors = EraserSet.create(sites, rank=4, seed=0).step_factors()
    assert {name.removeprefix("erasers."): factor for name, factor in factors.items()} == {
        "at 64.down.weight": 1.0, "at 192.down.weight": 1.0, "at 1920.down.weight": 0.1, "lora.lora_A.weight": 0.25
    }  # fmt: skip


@pytest.mark.parametrize("kind", VelocityRecipe.choices("kind"))
def test_the_benchmark_measures_how_far_the_attention_moves(kind: EraserType) -> None:
    width, found = shares(SHAPES["narrow CogVideoX"], VelocityRecipe(kind=kind, rank=4), steps=3)
    assert width == 192
    assert len(found) == 3
    assert found[0] == 0, "a new eraser adds nothing"
    assert 0 < found[1] < found[2] < 1


def test_the_benchmark_prints_a_row_for_both_learning_rates(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--shapes", "narrow CogVideoX", "--kinds", "lora", "--steps", "1"]) == 0
    printed = capsys.readouterr().out
    assert "| lora | narrow CogVideoX | 192 | as it is |" in printed
    assert "| lora | narrow CogVideoX | 192 | by width |" in printed


def test_each_real_width_is_compared_with_its_own_architecture_built_narrow() -> None:
    assert all(SHAPES[wide].heads > SHAPES[narrow].heads for wide, narrow in NARROW.items())
    assert all(SHAPES[wide].build is SHAPES[narrow].build for wide, narrow in NARROW.items())
    row = {"kind": "lora", "scaled": True}
    compared = against_narrow(
        [{**row, "name": "narrow Wan", "shares": [0, 0.1, 0.2]}, {**row, "name": "Wan 1.3B", "shares": [0, 0.15, 0.2]}],
        (2, 3, 50),
    )
    assert "| lora | Wan 1.3B | - | 1.0 to 1.5 |" in compared
