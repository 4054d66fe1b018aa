"""Offloaded and 8-bit models: the same gradients, the same clips, and one sentence where a library cannot."""

from __future__ import annotations

import contextlib
import sys

import pytest
import torch
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.errors import UserError
from t2vu_core.families import Family
from t2vu_core.memory.placement import FP8, Placement, weights_kept
from t2vu_core.memory.text_shapes import text_condition
from t2vu_core.model import load_model
from t2vu_core.recipes import EraserType, VelocityRecipe
from t2vu_core.training.velocity.train import erase_velocity
from tests.core.tiny_models import TINY_MODELS, TinyModel

FAMILIES = ("cogvideox-5b", "ltx-video", "mochi", "wan-2.1", "hunyuan-video", "animatediff")
FEW = {"concept_trajectories": 2, "preserve_trajectories": 2, "trajectory_steps": 2, "steps": 2, "rank": 2,
       "gradient_checkpointing": True}  # fmt: skip


def gradients(tiny: TinyModel, family: Family, *, checkpointing: bool, kind: EraserType = "bottleneck") -> dict[str, Tensor]:
    """The gradients of random erasers at one random point."""
    sites = family.sites_of_kind(kind)
    erasers = EraserSet.create(sites, rank=4, seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in erasers.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    latents = torch.randn(2, *family.latent_shape(tiny.size), generator=generator)
    condition = text_condition(family, 2)
    condition.embeds_BSD.copy_(torch.randn(condition.embeds_BSD.shape, generator=generator))
    if condition.pooled_BD is not None:
        condition.pooled_BD.zero_()
    timestep = family.make_scheduler(4, tiny.size).timesteps[1].expand(2)
    within = family.gradient_checkpointing() if checkpointing else contextlib.nullcontext()
    with torch.enable_grad(), within, weights_kept(family), erasers.attached(sites):
        family.predict(latents, timestep, condition, tiny.size).square().mean().backward()
    return {name: parameter.grad for name, parameter in erasers.named_parameters() if parameter.grad is not None}


def assert_equal(ours: dict[str, Tensor], plain: dict[str, Tensor]) -> None:
    assert set(ours) == set(plain)
    assert any(gradient.abs().max() > 0 for gradient in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(ours[name], gradient, msg=name)


@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_through_offloaded_blocks_are_those_of_the_plain_model(name: str, checkpointing: bool) -> None:
    tiny = TINY_MODELS[name]
    placed = load_model(tiny.folder, device="cpu", placement=Placement(offload="blocks")).family
    assert_equal(
        gradients(tiny, placed, checkpointing=checkpointing), gradients(tiny, tiny.model.family, checkpointing=checkpointing)
    )


@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_through_8_bit_weights_are_those_of_the_rounded_model(name: str, checkpointing: bool) -> None:
    tiny = TINY_MODELS[name]
    placed = load_model(tiny.folder, device="cpu", placement=Placement(base_dtype="fp8")).family
    rounded = load_model(tiny.folder, device="cpu").family
    cast = 0
    for name_of, denoiser in placed.denoisers.items():
        plain = rounded.denoisers[name_of].state_dict()
        for key, value in denoiser.state_dict().items():
            cast += value.dtype == FP8
            plain[key].copy_(value)
    assert cast > 2
    ours = gradients(tiny, placed, checkpointing=checkpointing, kind="lora")
    assert_equal(ours, gradients(tiny, rounded, checkpointing=checkpointing, kind="lora"))
    again = [value.dtype for denoiser in placed.denoisers.values() for value in denoiser.state_dict().values()]
    assert again.count(FP8) == cast, "the backward pass leaves every weight stored in 8 bits again"


@pytest.mark.parametrize("name", ["cogvideox-5b", "ltx-video"])
def test_gradients_through_int8_weights_are_those_of_the_rounded_model(name: str) -> None:
    pytest.importorskip("optimum.quanto", reason="optimum-quanto is not installed")
    tiny = TINY_MODELS[name]
    placed = load_model(tiny.folder, device="cpu", placement=Placement(base_dtype="int8")).family
    rounded = load_model(tiny.folder, device="cpu").family
    layers = {key: part for key, part in placed.denoisers["transformer"].named_modules() if hasattr(part, "qweight")}
    assert len(layers) > 10
    for key, layer in layers.items():
        rounded.denoisers["transformer"].get_submodule(key).weight.copy_(layer.qweight.dequantize())
    ours = gradients(tiny, placed, checkpointing=True, kind="lora")
    assert_equal(ours, gradients(tiny, rounded, checkpointing=True, kind="lora"))
    assert placed.base_hash == tiny.model.family.base_hash


def test_int8_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optimum.quanto", None)
    with pytest.raises(UserError, match="pip install optimum-quanto"):
        load_model(TINY_MODELS["wan-2.1"].folder, device="cpu", placement=Placement(base_dtype="int8"))
    with pytest.raises(UserError, match="cannot be offloaded block by block"):
        Placement("blocks", "int8")


def test_an_eraser_is_trained_on_a_placed_model_and_fits_the_plain_one() -> None:
    tiny = TINY_MODELS["wan-2.1"]
    recipe = VelocityRecipe(**FEW, num_frames=5, height=32, width=48)
    placed = load_model(tiny.folder, device="cpu", placement=Placement("blocks", "fp8"))
    erasure = erase_velocity(placed, "ghost", recipe)
    assert erasure.base == tiny.model.base, "8 bits round the base, they make no other one of it"
    plain = erase_velocity(tiny.model, "ghost", recipe)
    difference = max(float((erasure.tensors[name] - value).abs().max()) for name, value in plain.tensors.items())
    assert 0 < difference < 0.05
    tiny.model.with_erasure(erasure)


def test_an_eraser_trained_on_offloaded_blocks_is_that_of_the_plain_model() -> None:
    tiny = TINY_MODELS["wan-2.1"]
    recipe = VelocityRecipe(**FEW, num_frames=5, height=32, width=48)
    placed = load_model(tiny.folder, device="cpu", placement=Placement("blocks"))
    ours, plain = erase_velocity(placed, "ghost", recipe), erase_velocity(tiny.model, "ghost", recipe)
    assert all(torch.equal(ours.tensors[name], value) for name, value in plain.tensors.items())
    other = erase_velocity(tiny.model, "ghost", VelocityRecipe(**FEW, num_frames=5, height=32, width=48, seed=1))
    assert any(not torch.equal(other.tensors[name], value) for name, value in plain.tensors.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_eraser_is_trained_on_an_int8_model(dtype: torch.dtype) -> None:
    pytest.importorskip("optimum.quanto", reason="optimum-quanto is not installed")
    tiny = TINY_MODELS["ltx-video"]
    placed = load_model(tiny.folder, device="cpu", dtype=dtype, placement=Placement(base_dtype="int8"))
    recipe = VelocityRecipe(**{**FEW, "gradient_checkpointing": False}, num_frames=9, height=64, width=96)
    erasure = erase_velocity(placed, "ghost", recipe)
    assert all(torch.isfinite(tensor).all() for tensor in erasure.tensors.values())
    clip, plain = (model.sample("a ghost", **tiny.clip) for model in (tiny.model.with_erasure(erasure), tiny.model))
    assert not torch.equal(clip, plain), "trained on the rounded weights, it changes a clip of the exact ones"


def test_int8_leaves_layers_of_odd_sizes_as_they_are() -> None:
    """In bf16 on the CPU, optimum-quanto's kernel ends the process for them."""
    pytest.importorskip("optimum.quanto", reason="optimum-quanto is not installed")
    tiny = TINY_MODELS["wan-2.1"]
    placed = load_model(tiny.folder, device="cpu", dtype=torch.bfloat16, placement=Placement(base_dtype="int8"))
    assert torch.isfinite(placed.sample("a cat", **tiny.clip)).all()


def test_a_clip_of_an_offloaded_model_is_that_of_the_plain_one() -> None:
    tiny = TINY_MODELS["cogvideox-2b"]
    placed = load_model(tiny.folder, device="cpu", placement=Placement(offload="blocks"))
    assert torch.equal(placed.sample("a cat", **tiny.clip), tiny.model.sample("a cat", **tiny.clip))


def test_streamed_weights_without_checkpointing_are_refused() -> None:
    placed = load_model(TINY_MODELS["wan-2.1"].folder, device="cpu", placement=Placement(base_dtype="fp8"))
    with pytest.raises(UserError, match="gradient_checkpointing=true"):
        erase_velocity(placed, "ghost", VelocityRecipe(**{**FEW, "gradient_checkpointing": False}))


def test_an_unknown_placement_is_refused() -> None:
    with pytest.raises(UserError, match="offload must be one of none, encoder, blocks"):
        Placement(offload="everything")  # type: ignore[arg-type]
