"""Applying an unlearned text encoder to a CLIP that ComfyUI has loaded: finds the encoder in its weights and checks it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from t2vu_core.encoder_identity import same_weights, site_names
from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.interchange.encoder_files import check_tensors, clip_names, comfyui_layer, components
from t2vu_core.quantised_weights import StoredWeight
from t2vu_core.text_encoders import EncoderFacts

INSIDE = ".transformer."


def clip_encoders(erasure: Erasure, weights: Mapping[str, StoredWeight], *, allow_other_base: bool) -> dict[str, str]:
    """The encoder inside a CLIP for each component of an erasure; `weights` have the names of its `cond_stage_model`.

    Raises UserError unless the CLIP holds the encoders that the erasure was trained on: at least their layers, with equal
    sizes and, up to rounding to a number format, equal values. `allow_other_base` accepts other values.
    """
    check_tensors(erasure)
    clips = {component: _find(erasure, component, weights) for component in components(erasure)}
    if not allow_other_base and not same_weights(erasure, _touched(erasure, clips, weights)):
        raise UserError(
            f"{_trained_on(erasure)}; the encoder in this CLIP is of that size but its weights differ by more than "
            "rounding. Load the same text encoder, or allow another base explicitly if this one is a fine-tune of it."
        )
    return clips


def clip_layers(erasure: Erasure, clips: Mapping[str, str]) -> dict[str, str]:
    """The name in the CLIP of each layer that an erasure changes."""
    layers = {}
    for site in site_names(erasure):
        component, layer = site.split(".", 1)
        layers[site] = f"{clips[component]}{INSIDE}{comfyui_layer(components(erasure)[component]['kind'], layer)}"
    return layers


def _find(erasure: Erasure, component: str, weights: Mapping[str, StoredWeight]) -> str:
    """The name of the encoder inside the CLIP that has all layers in their sizes; ComfyUI's usual name is tried first.

    It may have more: diffusers omits the last layer of Stable Diffusion 2's encoder; ComfyUI keeps it and does not use it.
    """
    inside = sorted({key.split(INSIDE)[0] for key in weights if INSIDE in key})
    usual = clip_names(erasure)[component]
    for clip in [name for name in (usual, *inside) if name in inside]:
        if _fits(erasure, component, clip, weights):
            return clip
    raise UserError(
        f"{_trained_on(erasure)}; this CLIP holds {', '.join(inside) or 'no supported text encoder'}, which has other "
        "layers. Load the text encoder of the model that it was trained for."
    )


def _fits(erasure: Erasure, component: str, clip: str, weights: Mapping[str, StoredWeight]) -> bool:
    kind = components(erasure)[component]["kind"]
    sizes = _sizes(erasure)
    for site, size in sizes.items():
        if site.startswith(f"{component}."):
            weight = weights.get(f"{clip}{INSIDE}{comfyui_layer(kind, site.split('.', 1)[1])}.weight")
            if weight is None or tuple(weight.values.shape) != size:
                return False
    return _num_layers(clip, weights) >= components(erasure)[component]["layers"]


def _sizes(erasure: Erasure) -> dict[str, tuple[int, int]]:
    """The shape of each site's weight."""
    sizes = {}
    for site in site_names(erasure):
        down, up = (erasure.tensors.get(f"{site}.lora_{letter}.weight") for letter in "AB")
        if down is not None and up is not None:
            sizes[site] = (len(up), down.shape[1])
        else:
            name = "delta" if f"{site}.delta.weight" in erasure.tensors else "table"
            rows, columns = erasure.tensors[f"{site}.{name}.weight"].shape
            sizes[site] = (rows, columns)
    return sizes


def _num_layers(clip: str, weights: Mapping[str, StoredWeight]) -> int:
    found = (re.match(rf"{re.escape(clip + INSIDE)}(?:\w+\.)*?(?:layers|block)\.(\d+)\.", key) for key in weights)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _touched(erasure: Erasure, clips: Mapping[str, str], weights: Mapping[str, StoredWeight]) -> dict[str, StoredWeight]:
    """The weights and biases that the erasure changes, by their names in the erasure."""
    return {
        f"{site}.{parameter}": weights[f"{name}.{parameter}"]
        for site, name in clip_layers(erasure, clips).items()
        for parameter in ("weight", "bias")
        if f"{name}.{parameter}" in weights
    }


def _trained_on(erasure: Erasure) -> str:
    facts: Sequence[EncoderFacts] = [EncoderFacts(**fact) for fact in components(erasure).values()]
    return f"This unlearned encoder was trained on {erasure.base.name}, {' and '.join(map(str, facts))}"
