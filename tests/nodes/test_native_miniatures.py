"""Load Miniature: in ComfyUI's own classes the miniatures compute what they compute in diffusers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from t2vu_core import Erasure, load_model
from t2vu_core.families import Family
from t2vu_core.families.unet import make_unet_scheduler
from t2vu_core.image_model import load_image_model
from t2vu_core.sampling import Guided, denoise, guided
from tests.nodes.scripts import found_by
from tools.comfyui.server import REPOSITORY

STEPS, GUIDANCE = 5, 3.0
"""A number of steps that divides 1000: others fall between the noise levels that ComfyUI keeps."""
PROMPTS = {
    "miniature-ltx": "a ghost moving left under a starry night",
    "miniature-unet": "a ghost under a starry night",
    "miniature": "a ghost moving left under a starry night",
}
SHAPES = {"miniature-ltx": (1, 128, 5, 4, 4), "miniature-unet": (1, 12, 8, 8), "miniature": (1, 12, 9, 8, 8)}
TIMESTEPS = {"miniature-ltx": 0.7, "miniature-unet": 700.0, "miniature": 700.0}

ERASURES = REPOSITORY / "tests" / "data" / "v0_1" / "erasures"
ENCODERS = {
    "miniature-unet": ERASURES / "encoder_delta.safetensors",
    "miniature": ERASURES / "encoder_lora.safetensors",
}


@dataclass(frozen=True)
class Found:
    """What one process in ComfyUI's folder found."""

    tensors: Mapping[str, Tensor]
    said: Mapping[str, Any]


def given() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    noise = {f"{name}.noise": torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    return noise | {f"{name}.timestep": torch.tensor([value]) for name, value in TIMESTEPS.items()}


def _erasers(folder: Path) -> dict[str, str]:
    """An eraser that knows the hash of each video model's folder."""
    written = {}
    for name in ("miniature-ltx", "miniature"):
        base = load_model(name).base
        tensors = {"x.lora_down.weight": torch.zeros(1, 1), "x.lora_up.weight": torch.zeros(1, 1)}
        written[name] = str(Erasure("eraser", ("ghost",), base, tensors, "none").save(folder / f"{name}-eraser"))
    return written


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("miniatures")
    save_file(given(), folder / "given.safetensors")
    encoders = {name: str(file) for name, file in ENCODERS.items()}
    asked = {"prompts": PROMPTS, "steps": STEPS, "guidance": GUIDANCE, "encoders": encoders, "erasers": _erasers(folder)}
    (folder / "given.json").write_text(json.dumps(asked), encoding="utf-8")
    tensors, said = found_by("miniature_in_process.py", folder)
    return Found(tensors, said)


def difference(found: Tensor, expected: Tensor) -> float:
    assert expected.std() > 0.01
    return float((found.reshape(expected.shape) - expected).norm() / expected.norm())


@dataclass(frozen=True)
class InDiffusers:
    """The same miniature in diffusers, with latents in ComfyUI's layout."""

    text: Tensor
    predict: Callable[[Tensor, Tensor], Tensor]
    sample: Callable[[Tensor], Tensor]
    """Latents as the VAE takes them, as ComfyUI's are outside a model."""
    decode: Callable[[Tensor], Tensor]
    """(B, F, H, W, 3), or (B, H, W, 3) for images."""
    encode: Callable[[Tensor], Tensor]


def never_quite_zero(scheduler: Any) -> Any:
    """ComfyUI keeps a trace of signal at the first step of a schedule with zero terminal SNR."""
    if hasattr(scheduler, "alphas_cumprod"):
        scheduler.alphas_cumprod[-1] = 4.8973451890853435e-08
    return scheduler


def video_in_diffusers(name: str) -> InDiffusers:
    family: Family = load_model(name).family
    size = family.defaults.size
    swap = (lambda x: x.transpose(1, 2)) if family.channel_axis == 2 else (lambda x: x)
    scale = family.pipeline.vae.config.scaling_factor
    words, nothing = family.encode([PROMPTS[name]]), family.encode([""])

    def predict(latents: Tensor, timestep: Tensor) -> Tensor:
        return swap(family.predict(swap(latents), timestep * (1000 if name == "miniature-ltx" else 1), words, size))

    def sample(noise: Tensor) -> Tensor:
        scheduler = never_quite_zero(family.make_scheduler(STEPS, size))
        return swap(denoise(scheduler, swap(noise), guided(family, size, words, nothing, GUIDANCE), step=family.step)) / scale

    def decode(latents: Tensor) -> Tensor:
        return family.decode(swap(latents) * scale, size).movedim(2, -1)

    def encode(pictures: Tensor) -> Tensor:
        return swap(family.latents_of(pictures.movedim(-1, 2), size)) / scale

    return InDiffusers(words.embeds_BSD, predict, sample, decode, encode)


def image_in_diffusers(name: str) -> InDiffusers:
    model = load_image_model(f"{name}-image")
    scale = model.pipeline.vae.config.scaling_factor
    words, nothing = model.encode([PROMPTS[name]]), model.encode([""])

    def sample(noise: Tensor) -> Tensor:
        scheduler = never_quite_zero(make_unet_scheduler(model.pipeline.scheduler, STEPS, model.device))
        return denoise(scheduler, noise, Guided(model.predict, words, nothing, GUIDANCE)) / scale

    def decode(latents: Tensor) -> Tensor:
        return (model.pipeline.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)

    def encode(pictures: Tensor) -> Tensor:
        return model.latents_of(pictures.movedim(-1, 1)) / scale

    return InDiffusers(words.embeds_BSD, lambda x, t: model.predict(x, t, words), sample, decode, encode)


@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_a_miniature_is_the_same_model_in_comfyui(found: Found, name: str) -> None:
    if (refused := found.said.get(f"{name} refused")) is not None:
        assert refused == "miniature needs ComfyUI 0.21 or newer; this one can run miniature-ltx or miniature-unet."
        pytest.skip("this ComfyUI has no CogVideoX")
    ours = image_in_diffusers(name) if name == "miniature-unet" else video_in_diffusers(name)
    noise, timestep, sampled = (given()[f"{name}.noise"], given()[f"{name}.timestep"], found.tensors[f"{name}.sampled"])
    pictures = found.tensors[f"{name}.decoded"]
    expected = {
        "text": ours.text,
        "predicted": ours.predict(noise, timestep),
        "sampled": ours.sample(noise),
        "decoded": ours.decode(sampled),
        "encoded": ours.encode(pictures),
    }
    wrong = {what: difference(found.tensors[f"{name}.{what}"], value) for what, value in expected.items()}
    assert max(wrong.values()) < 1e-5, wrong
    assert found.said[f"{name} trainable"]


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_an_unlearned_encoder_of_the_folder_fits_the_clip(found: Found, name: str) -> None:
    if f"{name} refused" in found.said:
        pytest.skip("this ComfyUI has no CogVideoX")
    model = load_model(name)
    with model.with_erasure(Erasure.load(ENCODERS[name])).active() as family:
        expected = family.encode([PROMPTS[name]]).embeds_BSD
    unlearned = found.tensors[f"{name}.unlearned"]
    assert difference(unlearned, expected) < 1e-5
    assert difference(unlearned, model.family.encode([PROMPTS[name]]).embeds_BSD) > 1e-4


@pytest.mark.parametrize("name", ["miniature-ltx", "miniature"])
def test_the_model_is_recognised_as_that_of_the_folder(found: Found, name: str) -> None:
    if f"{name} refused" in found.said:
        pytest.skip("this ComfyUI has no CogVideoX")
    assert found.said[f"{name} weights"] == f"the same weights as {name}"


@pytest.mark.parametrize("precision", ["fp32", "fp8_scaled"])
def test_the_planned_memory_of_a_step_is_within_ten_percent(found: Found, precision: str) -> None:
    for planned, real in found.said[f"planned {precision}"].values():
        assert planned == pytest.approx(real, rel=0.1)


def test_an_eraser_changes_a_rounded_model_as_it_changes_the_exact_one(found: Found) -> None:
    """The rest is the base's own rounding."""
    exact = found.tensors["change in fp32"]
    off = {precision: difference(found.tensors[f"change in {precision}"], exact) for precision in ("bf16", "fp8", "fp8_scaled")}
    assert off["bf16"] < 0.03
    assert off["fp8_scaled"] < off["fp8"] < 0.3


@pytest.mark.parametrize("name", SHAPES)
def test_each_precision_stores_what_it_says_and_rounds_a_little(found: Found, name: str) -> None:
    if f"{name} refused" in found.said:
        pytest.skip("this ComfyUI has no CogVideoX")
    exact = found.tensors[f"{name}.predicted"]
    off = {precision: difference(found.tensors[f"{name}.{precision}"], exact) for precision in ("bf16", "fp8", "fp8_scaled")}
    assert 0 < off["bf16"] < 0.02
    assert off["bf16"] < off["fp8_scaled"] < off["fp8"] < 0.3
    for precision in ("fp8", "fp8_scaled"):
        assert "torch.float8_e4m3fn" in found.said[f"{name} {precision}"]
