"""Unlearned encoders as weight patches on copies of ComfyUI's own CLIP."""

from typing import Any

import comfy.lora

from t2vu_core import Erasure, UserError
from t2vu_core.interchange.clip_objects import clip_tensors

from .. import comfy_bridge
from .loaded_weights import LoadedWeights, StoredWeights


def with_encoder(clip: Any, encoder: Erasure, strength: float, *, allow_other_base: bool) -> Any:
    """A copy of ComfyUI's CLIP with an unlearned encoder applied as Load LoRA does.

    Raises UserError unless the CLIP holds the text encoder that was trained, with every layer of the erasure.
    """
    comfy_bridge.check_strength(strength)
    weights = StoredWeights(LoadedWeights(clip.patcher, clip.cond_stage_model, prefix=""))
    tensors = clip_tensors(encoder, weights, allow_other_base=allow_other_base)
    patches = comfy.lora.load_lora(tensors, comfy.lora.model_lora_keys_clip(clip.cond_stage_model, {}))
    return _patched(clip, patches, strength, expected=len(patches))


def _patched(original: Any, patches: Any, strength: float, *, expected: int) -> Any:
    patched = original.clone()
    taken = patched.add_patches(patches, strength)
    if len(taken) != expected:
        raise UserError(
            f"ComfyUI applied only {len(taken)} of the encoder's {expected} changes; the result would not erase as trained."
        )
    return patched
