"""The benchmark of a training step: it counts what it says it counts."""

from __future__ import annotations

from collections.abc import Iterator

import diffusers as d
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from benchmarks.step_measures import Job, Meter, _ours, measure
from benchmarks.step_shapes import SHAPES, shaped_model
from benchmarks.velocity_step import mask_bytes_2b_49f, parser, run, table
from t2vu_core.families import ClipSize
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
STEPS = 5
SMALL = {
    "cogvideox": {"num_attention_heads": 2, "num_layers": 1, "text_embed_dim": 32, "sample_width": 6, "sample_height": 4},
    "wan": {"num_attention_heads": 1, "num_layers": 1, "text_dim": 32, "ffn_dim": 32},
}


def job(recipe: str) -> Job:
    return Job(recipe, str(TINY.folder), "cpu", batch=2, rank=4, steps=STEPS)


@pytest.fixture
def passes() -> Iterator[list[bool]]:
    """One entry a pass of a denoiser: whether it was with gradients."""
    seen: list[bool] = []

    def count(module: nn.Module, *_: object) -> None:
        if isinstance(module, d.CogVideoXTransformer3DModel):
            seen.append(torch.is_grad_enabled())

    handle = register_module_forward_pre_hook(count)
    yield seen
    handle.remove()


def test_our_step_is_one_pass_and_the_ports_are_five(passes: list[bool]) -> None:
    measure(job("ours"))
    assert sum(passes) == STEPS
    looks = 2 * 2
    assert len(passes) == 2 + STEPS + looks, "two steps of a trajectory, a pass a step, a look at both points"
    passes.clear()
    measure(job("port"))
    assert passes == [False, False, False, True, True] * STEPS


def test_the_figures_and_their_ratios_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    options = parser().parse_args(["--model", str(TINY.folder), "--batch", "2", "--steps", str(STEPS), "--shapes"])
    result = run(options, measure)
    assert result["ratio_time"] == pytest.approx(
        result["rows"]["ours"]["seconds_per_step"] / result["rows"]["port"]["seconds_per_step"], abs=1e-3
    )
    assert 0 < result["ratio_memory"] < 1
    assert result["ratio_memory"] < result["ratio_memory_with_preservation"]
    assert result["rows"]["port"]["weight_bytes"] > result["rows"]["ours"]["weight_bytes"]
    assert result["clip"] == [9, 32, 48]
    assert "public port" in table(result)


def test_the_memory_of_a_step_grows_with_its_batch() -> None:
    small, large = (measure(Job("ours", str(TINY.folder), "cpu", batch, 4, STEPS)) for batch in (1, 8))
    assert large["peak_bytes"] - large["weight_bytes"] > 4 * (small["peak_bytes"] - small["weight_bytes"])


def test_a_mask_at_full_size_takes_less_than_half_a_gigabyte() -> None:
    assert 0.01e9 < mask_bytes_2b_49f() < 0.5e9


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_can_be_built_and_trained(name: str) -> None:
    """As on a GPU, only smaller."""
    small = SMALL["wan" if name.startswith("wan") else "cogvideox"]
    size = ClipSize(5, 32, 48)
    model = shaped_model(name, dtype=torch.bfloat16, device=torch.device("cpu"), size=size, **small)
    assert model.family.defaults.size == size
    assert model.family.dtype == torch.bfloat16
    meter = Meter(3, torch.device("cpu"))
    _ours(Job("ours", "", "cpu", 1, 4, 3, checkpointing=True), model, meter)
    assert meter.peak > 0


def test_the_shapes_are_those_of_the_released_models() -> None:
    with torch.device("meta"):
        sizes = {
            "cogvideox-2b": d.CogVideoXTransformer3DModel(**SHAPES["cogvideox-2b"].settings),
            "cogvideox-5b": d.CogVideoXTransformer3DModel(**SHAPES["cogvideox-5b"].settings),
            "wan-1.3b": d.WanTransformer3DModel(**SHAPES["wan-1.3b"].settings),
        }
    billions = {name: sum(p.numel() for p in model.parameters()) / 1e9 for name, model in sizes.items()}
    assert billions["cogvideox-2b"] == pytest.approx(1.69, abs=0.05)
    assert billions["cogvideox-5b"] == pytest.approx(5.57, abs=0.1)
    assert billions["wan-1.3b"] == pytest.approx(1.42, abs=0.05)
