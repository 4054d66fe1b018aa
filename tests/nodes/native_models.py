"""The tiny models of FOLDER in ComfyUI's own classes, as a graph has them, and what a script finds out about them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from in_comfyui import folder

# isort: split
import comfy.sd
import comfy.supported_models
import torch
from comfy.model_patcher import ModelPatcher
from comfy_tiny import OTHERS, build
from safetensors.torch import load_file, save_file
from stand_ins import LetterClip, PlainPixels
from t2vu_pack.nodes.native import Sampled, model_from_comfyui
from torch import Tensor

from t2vu_core import T2VModel
from t2vu_core.erasers import EraserSet
from t2vu_core.families.text_condition import TextCondition

given, found, said = load_file(folder / "given.safetensors"), {}, {}
STEPS, GUIDANCE = 4, 3.0
PROMPTS = ("a ghost", "a cat at night")
KINDS = ("bottleneck", "lora")
RATIOS = {
    "wan": (8, 4), "ltx": (32, 8), "hunyuan_video": (8, 4), "mochi": (8, 6), "hunyuan_video_15": (16, 4),
    "cosmos_predict2": (8, 4), "kandinsky5": (8, 4), "ltx_2": (32, 8),
}  # fmt: skip
CLIPS: dict[str, dict[str, Any]] = {
    "wan": {"width": 4096}, "ltx": {"width": 64, "lengths": 11},
    "hunyuan_video": {"width": 64, "lengths": 11, "pooled": True},
    "mochi": {"width": 32, "lengths": 11, "padded": 20},
    "hunyuan_video_15": {"width": 16, "lengths": 11, "padded": None, "glyphs": True},
    "cosmos_predict2": {"width": 32, "lengths": 11, "padded": 20}, "kandinsky5": {"width": 32, "lengths": 11, "pooled": True},
    "ltx_2": {"width": 64, "lengths": 11, "padded": None, "settings": {"unprocessed_ltxav_embeds": True}},
}  # fmt: skip
BUILT: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "mochi": ((12, 2, 4, 6), {}), "hunyuan_video_15": ((32, 2, 4, 6), {"in_channels": 65, "out_channels": 32}),
    "cosmos_predict2": ((16, 2, 4, 6), {}), "kandinsky5": ((16, 2, 4, 6), {}), "ltx_2": ((128, 2, 3, 4), {}),
}  # fmt: skip
"""Models that are not in FOLDER: shape of their latents, and settings that fit ComfyUI's latent format of the family."""


def there(family: str) -> bool:
    """Whether this version of ComfyUI has the family."""
    return family not in OTHERS or hasattr(comfy.supported_models, OTHERS[family][0])


def load(family: str, **options: Any) -> Any:
    """As Load Diffusion Model does it: nodes run in inference mode."""
    if family in BUILT:
        return built(family)
    with torch.inference_mode():
        return comfy.sd.load_diffusion_model(str(folder / f"{family}.safetensors"), model_options=options)


@torch.inference_mode()
def built(family: str) -> ModelPatcher:
    """One of ComfyUI's classes, with random weights that keep the signal's size."""
    model = build(family, **BUILT[family][1])
    for name, parameter in model.named_parameters():
        parameter.data = torch.ones(parameter.shape) if "norm" in name and parameter.dim() == 1 else parameter * 0.15
    return ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def clip_for(family: str) -> LetterClip:
    return LetterClip(**CLIPS[family])


def shape_of(family: str) -> tuple[int, ...]:
    return BUILT[family][0] if family in BUILT else tuple(given[f"{family}.noise"].shape[1:])


def made(family: str, model: Any = None, *, shape: Sequence[int] | None = None, conditioning: Any = None) -> T2VModel:
    latent = {"samples": torch.zeros(1, *(shape or shape_of(family)))}
    sampled = Sampled(STEPS, GUIDANCE)
    parts = clip_for(family), PlainPixels(*RATIOS[family])
    return model_from_comfyui([model or load(family)], *parts, sampled, latent=latent, conditioning=conditioning)


def erasers_for(family: Any, kind: str) -> tuple[EraserSet, list[Any]]:
    """Random ones, on their sites."""
    sites = family.sites_of_kind(kind)
    erasers = EraserSet.create(sites, rank=4, seed=0)
    generator = torch.Generator().manual_seed(2)
    for parameter in erasers.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return erasers, sites


def batch(family: Any) -> tuple[Tensor, Tensor, TextCondition]:
    """Two rows of other noise levels and other prompts."""
    x = torch.randn(2, *family.latent_shape(family.defaults.size), generator=torch.Generator().manual_seed(0))
    return x, torch.tensor([0.7, 0.4]), family.encode(PROMPTS)


def keep(name: str, value: Tensor) -> None:
    found[name] = value.detach().clone().contiguous()


def write() -> None:
    """What was found, for the tests."""
    save_file({name: value.detach().clone().contiguous() for name, value in found.items()}, folder / "found.safetensors")
    (folder / "found.json").write_text(json.dumps(said), encoding="utf-8")
