"""Run inside ComfyUI's folder: `python methods_in_process.py FOLDER` tries the methods on miniature-ltx in ComfyUI's classes.

Writes what it found to FOLDER/found.safetensors and found.json: clips under each guard, what attacks find, and what
unlearning does in quantised text encoders. The erasures go to FOLDER/closed_form.safetensors and encoder_<format>.safetensors.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from in_comfyui import folder

# isort: split
import torch
from native_methods import FORMATS, PAIRS, attacked, clips_of, closed_form
from quantised_encoders import t5_in
from safetensors.torch import save_file
from t2vu_pack.nodes.native import Sampled, model_from_comfyui, with_encoder
from t2vu_pack.nodes.native.miniature import load_miniature

from t2vu_core import Erasure, FewShotRecipe, T2VModel, UserError, VelocityRecipe, erase_velocity, unlearn_encoder

PROMPT = "a ghost under a starry night"
RECIPE = {"steps": 2, "shots": 1, "prompts": 2, "preserve_prompts": 2}
said: dict[str, Any] = {}


def made(clip: Any) -> T2VModel:
    latent = {"samples": torch.zeros(1, 128, 1, 4, 4)}
    return model_from_comfyui([miniature.model], clip, miniature.vae, Sampled(2, 3.0), latent=latent)


def encoded(clip: Any) -> torch.Tensor:
    with torch.inference_mode():
        return clip.encode_from_tokens_scheduled(clip.tokenize(PROMPT))[0][0].clone()


def gradient(clip: Any) -> torch.Tensor:
    """Of the first feed-forward layer, through the rest of the encoder and the denoiser."""
    family: Any = made(clip).family
    layer = family.text.encoder.encoder.block[0].layer[1].DenseReluDense.wi_1
    change = torch.zeros(layer.out_features, requires_grad=True)
    handle = layer.register_forward_hook(lambda module, args, output: output + change)
    latents = torch.randn(1, 128, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.enable_grad():
        condition = family.encode_with_gradients([PROMPT])
        # So small that gradients in fp16 would be zeros.
        (family.predict(latents, torch.tensor([0.7]), condition, family.defaults.size).pow(2).sum() * 1e-9).backward()
    handle.remove()
    assert change.grad is not None
    return change.grad


def unlearned(how: str) -> Erasure:
    clip, plain = t5_in(how)
    layer = clip.cond_stage_model.t5xxl.transformer.encoder.block[0].layer[1].DenseReluDense.wo
    said[f"{how} layer"] = str(getattr(layer.weight, "_qdata", layer.weight).dtype)
    expected, got = gradient(plain), gradient(clip)
    said[f"{how} cosine"] = float(torch.nn.functional.cosine_similarity(got, expected, dim=0))
    said[f"{how} size"] = float(got.norm() / expected.norm())
    weights, before = copy.deepcopy(clip.cond_stage_model.state_dict()), encoded(clip)
    recipe = FewShotRecipe.preset("quick", **RECIPE)
    erasure = unlearn_encoder(made(clip), "ghost", recipe)
    erasure.save(folder / f"encoder_{how}")
    with torch.inference_mode():
        after = encoded(with_encoder(clip, erasure, 1.0, allow_other_base=False))
        wanted = encoded(with_encoder(plain, erasure, 1.0, allow_other_base=True)) - encoded(plain)
        halves = with_encoder(with_encoder(clip, erasure, 0.5, allow_other_base=False), erasure, 0.5, allow_other_base=False)
        said[f"{how} halves"] = float((encoded(halves) - after).norm() / (after - before).norm())
    said[f"{how} moved"] = float((after - before).norm() / before.norm())
    said[f"{how} off"] = float((after - before - wanted).norm() / wanted.norm())
    again, now = encoded(clip), clip.cond_stage_model.state_dict()
    said[f"{how} kept"] = torch.equal(again, before) and all(
        torch.equal(bytes_of(now[name]), bytes_of(value)) for name, value in weights.items() if value.numel() and value.dim()
    )  # fmt: skip
    return erasure


def bytes_of(stored: torch.Tensor) -> torch.Tensor:
    plain = stored.as_subclass(torch.Tensor) if hasattr(stored, "tensor_type") else stored
    return plain.view(torch.uint8)


def losses_of(clip: Any, **settings: int) -> list[float]:
    """Of a velocity training run of three steps."""
    few = {"concept_trajectories": 2, "preserve_trajectories": 2, "trajectory_steps": 2, "steps": 3, "rank": 2}
    erasure = erase_velocity(made(clip), "ghost", VelocityRecipe.preset("quick", **few, **settings))
    losses: list[float] = erasure.training["losses"]
    return losses


def accepted(clip: Any, erasure: Erasure) -> str:
    try:
        with_encoder(clip, erasure, 1.0, allow_other_base=False)
    except UserError as error:
        return str(error)
    return ""


with torch.inference_mode():
    miniature = load_miniature("miniature-ltx", "fp32")
encoders = {how: unlearned(how) for how in FORMATS}
for how, own in PAIRS:
    clip, _ = t5_in(own)
    tuned, _ = t5_in(own, 0.3)
    said[f"{how} on {own}"] = accepted(clip, encoders[how])
    said[f"{how} on tuned {own}"] = accepted(tuned, encoders[how])
usual = Sampled(20, 3.0, fps=8)
native = model_from_comfyui([miniature.model], miniature.clip, miniature.vae, usual, latent=miniature.latent)
eraser = closed_form(native)
eraser.save(folder / "closed_form")
save_file(clips_of(native, eraser), folder / "found.safetensors")
said["attacks"] = attacked(native, folder)
said["losses"] = losses_of(miniature.clip)
said["losses with learned tokens"] = losses_of(miniature.clip, probe_rounds=1, probe_steps=2)
(folder / "found.json").write_text(json.dumps(said), encoding="utf-8")
