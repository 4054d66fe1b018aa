"""Whether a MODEL has the weights that an erasure was trained on: the same hash as the diffusers folder."""

import weakref
from typing import Any

import torch
from torch import Tensor

from t2vu_core import Erasure, UserError
from t2vu_core.erasure import hash_tensors

from .apply import denoiser_of
from .architectures import architecture_of

EXACT = (torch.float32, torch.bfloat16, torch.float16)
"""The precisions that a hash can compare; it is taken over bf16 values, so bf16 and float32 files of one model agree."""

_known: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()


def same_weights(model: Any, erasure: Erasure, *, confirmed: bool) -> str:
    """What is known about the MODEL's weights, in a few words; `confirmed` by the user, they are not compared.

    Raises UserError if they are not confirmed and not the same.
    """
    base = erasure.base
    if confirmed:
        return f"same_base is on: not compared with {base.name}"
    own = _base_hash(model)
    if own == base.hash:
        return f"the same weights as {base.name}"
    compared = (
        "this MODEL's weights cannot be compared with it"
        if own is None
        else f"this MODEL has other weights ({own[:12]}, not {base.hash[:12]})"
    )
    raise UserError(
        f"This eraser was trained on {base.name} ({base.family}), and {compared}. Switch on same_base if it is that model in "
        "another precision, one of its two denoisers, or a fine-tune of it."
    )


def _base_hash(model: Any) -> str | None:
    """The hash of the weights that erasers depend on, without LoRAs; None if it cannot be taken from this MODEL."""
    if model.model not in _known:
        _known[model.model] = _hash(model)
    return _known[model.model]


def _hash(model: Any) -> str | None:
    denoiser = denoiser_of(model.get_model_object("diffusion_model"))
    architecture = architecture_of(denoiser)
    if architecture is None or not architecture.tensors:
        return None
    weights: dict[str, Tensor] = denoiser.state_dict()
    # While a LoRA is merged in, the patcher holds the weights as they were loaded.
    weights |= {key.removeprefix("diffusion_model."): kept.weight for key, kept in model.backup.items()}
    try:
        named = list(architecture.named_base_tensors(denoiser, weights))
    except (KeyError, AttributeError):
        return None
    if any(tensor.dtype not in EXACT or tensor.is_meta for _, tensor in named):
        return None
    return hash_tensors(named)
