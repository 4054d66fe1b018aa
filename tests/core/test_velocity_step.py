"""The benchmark of a training step: it counts what it says it counts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers as d
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from benchmarks.fp8_gradients import measure_gradients
from benchmarks.fresh_processes import Failed
from benchmarks.step_measures import Job, Meter, _ours, measure
from benchmarks.step_shapes import SHAPES, TINY_SIZE, shaped_model
from benchmarks.velocity_step import main, mask_bytes_2b_49f, parser, run, table
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
STEPS = 5


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
    few = ("--batch", "2", "--steps", str(STEPS), "--kind", "bottleneck", "--shapes")
    options = parser().parse_args(["--model", str(TINY.folder), *few])
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
    model = shaped_model(name, dtype=torch.bfloat16, device=torch.device("cpu"), tiny=True)
    assert model.family.defaults.size == TINY_SIZE
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
            "wan-14b": d.WanTransformer3DModel(**SHAPES["wan-14b"].settings),
        }
    billions = {name: sum(p.numel() for p in model.parameters()) / 1e9 for name, model in sizes.items()}
    assert billions["cogvideox-2b"] == pytest.approx(1.69, abs=0.05)
    assert billions["cogvideox-5b"] == pytest.approx(5.57, abs=0.1)
    assert billions["wan-1.3b"] == pytest.approx(1.42, abs=0.05)
    assert billions["wan-14b"] == pytest.approx(14.3, abs=0.1)


@pytest.mark.parametrize("name", ["cogvideox-2b", "wan-14b"])
def test_a_frozen_base_in_fp8_takes_less_and_passes_the_same_gradients(name: str) -> None:
    step = Job("ours_with_preservation", f"shape:{name}", "cpu", 1, 4, 4, "bf16", checkpointing=True, tiny=True)
    stored, plain = measure(dataclasses.replace(step, fp8=True)), measure(step)
    assert stored["fp8"]
    assert stored["weight_bytes"] < plain["weight_bytes"]
    found = measure_gradients(dataclasses.replace(step, recipe="gradients"))
    assert found["finite"]
    assert found["norm"] > 0
    assert found["difference_to_rounded_weights"] == 0, "casting layer by layer computes with the same bf16 values"
    assert 0 < found["difference_to_bf16"] < 0.2, "the rounding to 8 bits is really there"


def test_the_arithmetic_of_a_step_is_counted_and_what_is_computed_again_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU's way through the meter, with the clock and the counter of a CPU."""
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 1)
    plain, again = (_flops(checkpointing) for checkpointing in (False, True))
    assert 0 < plain < again


def _flops(checkpointing: bool) -> int:
    model = shaped_model("cogvideox-2b", dtype=torch.bfloat16, device=torch.device("cpu"), tiny=True)
    meter = Meter(4, torch.device("cuda"))
    _ours(Job("ours", "", "cpu", 1, 4, 4, checkpointing=checkpointing), model, meter)
    assert len(meter.seconds) == 1
    assert meter.flops is not None
    return meter.flops


def row(job: Job) -> dict[str, Any]:
    """What a measurement gives, without measuring."""
    if job.model == "shape:wan-14b":
        raise Failed("CUDA out of memory")
    common = {"device": "NVIDIA H100", "threads": 8, "clip": [17, 480, 832], "fp8": job.fp8, "mfu": 0.4}
    return {**common, "seconds_per_step": 0.5, "peak_bytes": 2**30, "weight_bytes": 2**29, "memory_measure": "the allocator's"}


def test_what_fails_or_finds_no_time_is_said_and_the_rest_is_kept() -> None:
    options = parser().parse_args(["--shapes", "wan-1.3b:fp8", "wan-14b", "cogvideox-2b", "--rows", "ours"])
    kept: list[int] = []
    result = run(options, row, lambda result: kept.append(len(result["left_out"])), lambda: len(kept) == 2)
    assert list(result["shapes"]) == ["wan-1.3b:fp8"]
    assert kept == [0, 0, 2], "after every measurement, and what was left out"
    text = table(result)
    assert "| wan-1.3b | 17 x 480 x 832 | fp8 | 0.500 | 1.0 | 0.5 | 40 % |" in text
    assert "Failed: shapes: wan-14b: CUDA out of memory" in text
    assert "Left out, the budget was spent: shapes: cogvideox-2b." in text
    assert "Left out, the budget was spent: rows: ours." in text


def test_every_measurement_is_a_process_of_its_own_and_is_written_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "step.json"
    asked = ["--device", "cpu", "--tiny", "--steps", "4", "--rows", "--shapes", "wan-1.3b:fp8", "--out", str(out)]
    assert main(asked) == 0
    assert json.loads(out.read_text(encoding="utf-8"))["shapes"]["wan-1.3b:fp8"]["steps_timed"] == 1
    out.unlink()
    assert main([*asked, "--timeout-seconds", "0.1"]) == 1
    assert "Failed: shapes: wan-1.3b:fp8: It took too long." in capsys.readouterr().out
    assert main([*asked, "--budget-seconds", "0"]) == 0
    assert "Left out" in capsys.readouterr().out
