"""LoRAs and unlearned encoders as weight patches on copies of ComfyUI's own MODEL and CLIP."""

import math
from collections.abc import Mapping
from typing import Any

import comfy.lora
from torch import Tensor

from t2vu_core import Erasure, UserError
from t2vu_core.interchange.clip_objects import clip_tensors


def check_strength(strength: float) -> None:
    """Raise UserError for NaN and infinity, which ComfyUI passes on."""
    if not math.isfinite(strength):
        raise UserError(f"The strength must be a number such as 1.0, not {strength!r}.")


def with_lora(model: Any, pairs: Mapping[str, tuple[Tensor, Tensor]], strength: float, family: str) -> Any:
    """A copy of ComfyUI's MODEL with the LoRAs applied as Load LoRA does; `pairs` are A and B by module.

    Raises UserError if the model lacks one of the modules: ComfyUI itself would skip it.
    """
    _check_modules(model.model.state_dict(), pairs, family)
    tensors = {
        f"{module}.lora_{letter}.weight": half
        for module, pair in pairs.items()
        for letter, half in zip("AB", pair, strict=True)
    }
    patches = comfy.lora.load_lora(tensors, comfy.lora.model_lora_keys_unet(model.model, {}))
    return _patched(model, patches, strength, expected=len(pairs), what="eraser's layers")


def with_encoder(clip: Any, encoder: Erasure, strength: float, *, allow_other_base: bool) -> Any:
    """A copy of ComfyUI's CLIP with an unlearned encoder applied as Load LoRA does.

    Raises UserError unless the CLIP holds the text encoder that was trained, with every layer of the erasure.
    """
    check_strength(strength)
    weights = dict(clip.cond_stage_model.state_dict())
    # While another LoRA is merged in, the patcher holds the weights as they were loaded.
    weights.update({key: kept.weight for key, kept in clip.patcher.backup.items() if key in weights})
    tensors = clip_tensors(encoder, weights, allow_other_base=allow_other_base)
    patches = comfy.lora.load_lora(tensors, comfy.lora.model_lora_keys_clip(clip.cond_stage_model, {}))
    return _patched(clip, patches, strength, expected=len(patches), what="encoder's changes")


def _check_modules(weights: Mapping[str, Tensor], pairs: Mapping[str, tuple[Tensor, Tensor]], family: str) -> None:
    for module, (down, up) in pairs.items():
        weight = weights.get(f"{module}.weight")
        if weight is None or tuple(weight.shape) != (len(up), down.shape[1]):
            raise UserError(f"This MODEL is not the {family} model that the eraser is for: it has no {module} of that size.")


def _patched(original: Any, patches: Any, strength: float, *, expected: int, what: str) -> Any:
    patched = original.clone()
    taken = patched.add_patches(patches, strength)
    if len(taken) != expected:
        raise UserError(f"ComfyUI applied only {len(taken)} of the {expected} {what}; the result would not erase as trained.")
    return patched
