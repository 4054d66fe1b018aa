"""Run inside ComfyUI's folder: `python miniature_in_process.py FOLDER` samples the miniatures in ComfyUI's own classes.

Reads FOLDER/given.safetensors (noise, timesteps) and given.json (prompts), and writes what ComfyUI's text encoders, denoisers,
KSampler and VAE make of them to FOLDER/found.safetensors and found.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from in_comfyui import folder

# isort: split
import comfy.sample
import torch
from planned_memory import planned_and_real
from safetensors.torch import load_file, save_file
from t2vu_pack.nodes.load_miniature_native import LoadMiniatureNative
from t2vu_pack.nodes.native import Part, Sampled, model_from_comfyui, same_weights, with_encoder, with_eraser
from t2vu_pack.nodes.native.miniature import MINIATURES, PRECISIONS

from t2vu_core import Erasure, UserError
from t2vu_core.erasers import EraserSet

given, asked = load_file(folder / "given.safetensors"), json.loads((folder / "given.json").read_text(encoding="utf-8"))
found: dict[str, torch.Tensor] = {}
said: dict[str, Any] = {}
TRAINED = "miniature-ltx"
"""What is trained in ComfyUI."""


def encode(clip: Any, text: str) -> Any:
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def keep(name: str, value: torch.Tensor) -> None:
    found[name] = value.detach().float().clone().contiguous()


@torch.inference_mode()
def sampled(name: str, loaded: Any) -> torch.Tensor:
    """KSampler on the latent that the node gives, from the given noise."""
    model, clip, _, latent = loaded
    words, nothing = encode(clip, asked["prompts"][name]), encode(clip, "")
    empty = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    return comfy.sample.sample(
        model, given[f"{name}.noise"], asked["steps"], asked["guidance"], "euler", "simple", words, nothing, empty, seed=0,
        disable_pbar=True,
    )  # fmt: skip


@torch.inference_mode()
def predicted(name: str, loaded: Any) -> torch.Tensor:
    model, clip, *_ = loaded
    [[text, parts]] = encode(clip, asked["prompts"][name])
    arguments = [parts["attention_mask"]] if "attention_mask" in parts else []
    return model.model.diffusion_model(given[f"{name}.noise"], given[f"{name}.timestep"], text, *arguments)


def one(name: str) -> None:
    """Everything in float32, and what each precision changes."""
    with torch.inference_mode():
        loaded = LoadMiniatureNative.execute(name, "fp32").args
        model, clip, vae, _ = loaded
    said[f"{name} trainable"] = not any(value.is_inference() for value in model.model.parameters())
    keep(f"{name}.text", encode(clip, asked["prompts"][name])[0][0])
    if name in asked["encoders"]:
        unlearned = with_encoder(clip, Erasure.load(Path(asked["encoders"][name])), 1.0, allow_other_base=False)
        keep(f"{name}.unlearned", encode(unlearned, asked["prompts"][name])[0][0])
    if name in asked["erasers"]:
        eraser = Erasure.load(Path(asked["erasers"][name]))
        said[f"{name} weights"] = same_weights(model, eraser, confirmed=False)
    keep(f"{name}.predicted", predicted(name, loaded))
    latents = sampled(name, loaded)
    keep(f"{name}.sampled", latents)
    with torch.inference_mode():
        pictures = vae.decode(latents)
        keep(f"{name}.decoded", pictures)
        keep(f"{name}.encoded", vae.encode(pictures.reshape(-1, *pictures.shape[-3:])))
    for precision in PRECISIONS:
        rounded = LoadMiniatureNative.execute(name, precision).args
        keep(f"{name}.{precision}", predicted(name, rounded))
        kinds = {str(value.dtype) for value in rounded[0].model.diffusion_model.state_dict().values()}
        said[f"{name} {precision}"] = sorted(kinds)
        if name == TRAINED:
            if precision in ("fp32", "fp8_scaled"):
                planned(precision, rounded)
            erased(precision, rounded)


def family_of(model: Any, loaded: Any) -> Any:
    _, clip, vae, latent = loaded
    return model_from_comfyui([model], clip, vae, Sampled(asked["steps"], asked["guidance"]), latent=latent).family


def planned(precision: str, loaded: Any) -> None:
    """The memory of a training step by the plan, and the real one."""
    family = family_of(loaded[0], loaded)
    said[f"planned {precision}"] = planned_and_real(family, gradient_checkpointing="fp8" in precision)


@torch.no_grad()
def erased(precision: str, loaded: Any) -> None:
    """What an eraser changes in a prediction."""
    plain = family_of(loaded[0], loaded)
    erasers, generator = EraserSet.create(plain.eraser_sites(), rank=4, seed=0), torch.Generator().manual_seed(2)
    for parameter in erasers.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model = with_eraser(loaded[0], erasers.named_tensors(), plain.name, strength=1.0, part=Part())
    noise, timestep, size = given[f"{TRAINED}.noise"], given[f"{TRAINED}.timestep"], plain.defaults.size
    before, after = (
        family.predict(noise, timestep, family.encode([asked["prompts"][TRAINED]]), size)
        for family in (plain, family_of(model, loaded))
    )
    keep(f"change in {precision}", after - before)


for name in MINIATURES:
    try:
        one(name)
    except UserError as error:
        said[f"{name} refused"] = str(error)
save_file(found, folder / "found.safetensors")
(folder / "found.json").write_text(json.dumps(said), encoding="utf-8")
