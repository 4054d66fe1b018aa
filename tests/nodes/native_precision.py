"""Training of models that ComfyUI computes in fp16, under the rules of CUDA's autocast, and the memory that is asked for."""

from __future__ import annotations

import contextlib
from typing import Any

import comfy.model_management
import comfy.supported_models
import torch
from native_models import batch, erasers_for, folder, load, made, said
from quantised import OPTIONS, stored
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from t2vu_core.families.text_condition import TextCondition

PROMOTED = (
    "addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "grid_sample", "grid_sampler", "index_put", "scatter_add",
    "tensordot", "vdot",
)  # fmt: skip
"""What CUDA's autocast promotes to the widest type; the CPU's leaves these to PyTorch's own rules."""


class CudaAutocast(TorchFunctionMode):
    """Raises where CUDA's autocast does: at another half precision than its own."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_autocast_enabled("cpu") and getattr(func, "__name__", "") in PROMOTED:
            lower = widest = torch.get_autocast_dtype("cpu")
            for value in tree_leaves((args, kwargs)):
                if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == torch.float64:
                    continue
                if torch.float32 in (widest, value.dtype):
                    widest = torch.float32
                elif value.dtype != lower:
                    raise RuntimeError("Unexpected floating ScalarType in at::autocast::prioritize")
        return func(*args, **(kwargs or {}))


def in_half() -> None:
    """Models that ComfyUI computes in fp16, as on most GPUs: training computes them in bf16."""
    management: Any = comfy.model_management
    own = management.unet_manual_cast
    management.unet_manual_cast = lambda weight, *rest, **options: None if weight == torch.float16 else torch.float16
    try:
        for name in ("wan", "ltx", "hunyuan_video"):
            half(f"{name} fp16", name, load(name, dtype=torch.float16), load(name, dtype=torch.float32))
        for how in ("fp8", "fp8_scaled"):
            file, plain = stored(how)
            for name, values in (("stored", file), ("plain", plain)):
                save_file(values, folder / f"{name}.safetensors")
            half(f"wan {how}", "wan", load("stored", **OPTIONS[how]), load("plain", dtype=torch.float32))
    finally:
        management.unet_manual_cast = own


def half(label: str, name: str, model: Any, whole: Any) -> None:
    """Gradients against those in float32, and whether the MODEL samples bit for bit as before."""
    family, reference = made(name, model).family, made(name, whole).family
    x, sigmas, condition = batch(family)

    def plain() -> Tensor:
        with torch.no_grad():
            return family.predict(x, sigmas, condition, family.defaults.size)

    before, facts = plain(), {"dtype": str(family.dtype)}
    for way in ("plain", "recomputed"):
        slopes = [slope(each, way, (x, sigmas, condition)) for each in (family, reference)]
        facts[way] = [float(torch.nn.functional.cosine_similarity(*slopes, dim=0)), float(slopes[0].norm() / slopes[1].norm())]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), CudaAutocast():
        family.predict(x, sigmas, condition, family.defaults.size)
    facts["samples as before"] = torch.equal(plain(), before)
    facts["dtype after"] = str(family.dtype)
    facts["left behind"] = sum("forward" in vars(part) for part in model.model.modules())
    said[f"half {label}"] = facts


def slope(family: Any, way: str, given: tuple[Tensor, Tensor, TextCondition]) -> Tensor:
    erasers, sites = erasers_for(family, "lora")
    recomputed = family.gradient_checkpointing() if way == "recomputed" else contextlib.nullcontext()
    with torch.enable_grad(), recomputed, erasers.attached(sites), CudaAutocast():
        with torch.autocast("cpu", torch.bfloat16):
            out = family.predict(*given, family.defaults.size)
        out.square().mean().backward()
    return torch.cat([parameter.grad.flatten() for parameter in erasers.parameters()])


def asked_memory() -> None:
    """What is asked of ComfyUI for a step of Wan 2.1 1.3B with two rows at 17 x 480 x 832."""
    management: Any = comfy.model_management
    model = load("wan")
    config = comfy.supported_models.WAN21_T2V({"image_model": "wan2.1", "model_type": "t2v", "dim": 1536})
    model.model.memory_usage_factor, model.model.manual_cast_dtype = config.memory_usage_factor, torch.bfloat16
    own, flash = management.load_models_gpu, management.pytorch_attention_flash_attention
    asked: list[float] = []
    management.pytorch_attention_flash_attention = lambda: True
    management.load_models_gpu = lambda models, memory_required: asked.append(memory_required)
    try:
        made("wan", model).family._first.load((2, 16, 5, 60, 104), training=True)
    finally:
        management.load_models_gpu, management.pytorch_attention_flash_attention = own, flash
    said["asked memory"] = asked
