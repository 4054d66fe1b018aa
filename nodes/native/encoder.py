"""Unlearned encoders on copies of ComfyUI's own CLIP: as weight patches, or on the layers while they compute.

Merged into weights of a coarse format such as fp8, a part of the change would be rounded away. There it is added to what the
layers give, at the precision that it was trained in, and the weights stay as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import comfy.lora
import torch
from torch import Tensor, nn

from t2vu_core import Erasure, UserError
from t2vu_core.encoder_identity import COARSE
from t2vu_core.erasers import EraserSet
from t2vu_core.families.eraser_site import EraserSite, edit_whole
from t2vu_core.interchange.clip_objects import clip_encoders, clip_layers
from t2vu_core.interchange.encoder_files import comfyui_tensors

from .. import comfy_bridge
from .loaded_weights import LoadedWeights, StoredWeights

ENCODE = "encode_token_weights"
"""The method of ComfyUI's text encoders that every prompt passes."""


class EncoderOnLayers:
    """Takes the place of `encode_token_weights`: computes with an unlearned encoder on the layers."""

    def __init__(
        self,
        own: Callable[[Any], Any],
        tensors: Mapping[str, Tensor],
        sites: Sequence[EraserSite],
        *,
        strength: float,
        device: torch.device,
    ) -> None:
        """`own` is what it takes the place of, which may be another one; the CLIP computes on `device`."""
        self._own, self._sites, self._strength, self._device = own, sites, strength, device
        # Nodes run in inference mode; its tensors could not be used in a later training run.
        with torch.inference_mode(False):
            self._erasers = EraserSet.from_tensors(tensors).eval().requires_grad_(False)

    def describe(self) -> dict[str, Any]:
        """What it does, as values that can be compared."""
        below = self._own if isinstance(self._own, EncoderOnLayers) else None
        return {"tensors": self._erasers.named_tensors(), "strength": self._strength, "below": below}

    def __call__(self, tokens: Any) -> Any:
        with torch.inference_mode(False):
            self._erasers.to(self._device)
        try:
            with self._erasers.attached(self._sites, strength=self._strength):
                return self._own(tokens)
        finally:
            # Between prompts the memory is the denoiser's.
            with torch.inference_mode(False):
                self._erasers.to("cpu")


def with_encoder(clip: Any, encoder: Erasure, strength: float, *, allow_other_base: bool) -> Any:
    """A copy of ComfyUI's CLIP with an unlearned encoder: merged as Load LoRA does, or on the layers of a coarse format.

    Raises UserError unless the CLIP holds the text encoder that was trained, with every layer of the erasure.
    """
    comfy_bridge.check_strength(strength)
    weights = LoadedWeights(clip.patcher, clip.cond_stage_model, prefix="")
    clips = clip_encoders(encoder, StoredWeights(weights), allow_other_base=allow_other_base)
    layers = clip_layers(encoder, clips)
    if any(weights.formats[f"{name}.weight"].rounding > COARSE for name in layers.values()):
        return _on_layers(clip, encoder, layers, strength)
    tensors, _ = comfyui_tensors(encoder, clips)
    patches = comfy.lora.load_lora(tensors, comfy.lora.model_lora_keys_clip(clip.cond_stage_model, {}))
    return _patched(clip, patches, strength, expected=len(patches))


def on_layers_of(clip: Any) -> EncoderOnLayers | None:
    """The unlearned encoders that a CLIP computes with on its layers."""
    found = clip.patcher.object_patches.get(ENCODE)
    return found if isinstance(found, EncoderOnLayers) else None


def _on_layers(original: Any, encoder: Erasure, layers: Mapping[str, str], strength: float) -> Any:
    changed = original.clone()
    sites = [_site(name, original.cond_stage_model.get_submodule(layer)) for name, layer in layers.items()]
    own = original.patcher.get_model_object(ENCODE)
    device = original.patcher.load_device
    changed.patcher.add_object_patch(ENCODE, EncoderOnLayers(own, encoder.tensors, sites, strength=strength, device=device))
    return changed


def _site(name: str, module: nn.Module) -> EraserSite:
    layer: Any = module
    width = layer.embedding_dim if isinstance(module, nn.Embedding) else layer.out_features
    return EraserSite(name, module, width, edit_whole, "delta")


def _patched(original: Any, patches: Any, strength: float, *, expected: int) -> Any:
    patched = original.clone()
    taken = patched.add_patches(patches, strength)
    if len(taken) != expected:
        raise UserError(
            f"ComfyUI applied only {len(taken)} of the encoder's {expected} changes; the result would not erase as trained."
        )
    return patched
