"""KSampler over the tiny models, with erasers of FOLDER."""

from __future__ import annotations

from typing import Any

import comfy.sample
import comfy.samplers
import torch
from native_models import GUIDANCE, STEPS, folder, found, given
from safetensors.torch import load_file
from t2vu_pack.nodes.native import Part, with_eraser
from t2vu_pack.nodes.native.architectures import architecture_of

from t2vu_core.erasers import EraserSet


def erased(model: Any, kind: str, strength: float = 1.0, start_at: float = 0.0, end_at: float = 1.0) -> Any:
    family = model.model.model_config.unet_config["image_model"]
    family = {"wan2.1": "wan", "ltxv": "ltx"}.get(family, family)
    tensors = load_file(folder / f"{family}_{kind}.safetensors")
    return with_eraser(model, tensors, family, strength=strength, part=Part(start_at, end_at))


def condition(family: str, which: str, **more: Any) -> list[Any]:
    # ComfyUI's HunyuanVideo takes no mask for a batch of two; here every token counts.
    extra = {"pooled_output": "pooled"} | ({} if family == "hunyuan_video" else {"attention_mask": "mask"})
    parts = {theirs: given[f"{family}.{ours}"] for theirs, ours in extra.items() if f"{family}.{ours}" in given}
    return [[given[f"{family}.{which}"], {**parts, **more}]]


def sample(model: Any, family: str, **more: Any) -> torch.Tensor:
    """KSampler's euler and simple."""
    noise = given[f"{family}.noise"]
    text, empty = (condition(family, which, **more) for which in ("text", "empty"))
    with torch.inference_mode():
        out = comfy.sample.sample(
            model, noise, STEPS, GUIDANCE, "euler", "simple", text, empty, torch.zeros_like(noise), denoise=1.0, seed=7,
            disable_pbar=True,
        )  # fmt: skip
        found[f"{family}.sigmas"] = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
        return model.model.process_latent_in(out)


def on_throughout(model: Any, kind: str, family: str, **more: Any) -> torch.Tensor:
    """What sampling gives with the eraser's hooks on the denoiser for all of it: no wrapper has to find the passes."""
    denoiser = model.model.diffusion_model
    erasers = EraserSet.from_tensors(load_file(folder / f"{family}_{kind}.safetensors"))
    with torch.no_grad(), erasers.attached(erasers.fit(architecture_of(denoiser).sites(denoiser))):
        return sample(model, family, **more)


def off(ours: torch.Tensor, theirs: torch.Tensor, plain: torch.Tensor) -> list[float]:
    """How far the result with the wrapper is from that with hooks, and how far the eraser has moved it."""
    return [float((one - theirs).norm() / theirs.norm()) for one in (ours, plain)]
