"""Whether a MODEL has the weights that an eraser was trained on: by hash where formats allow it, else by a sketch."""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from t2vu_core import Erasure, UserError
from t2vu_core.base_identity import usable_sketch
from t2vu_core.erasure import hash_tensors
from t2vu_core.formatting import percent
from t2vu_core.interchange.denoisers import ONLY_DENOISER, SECOND_DENOISER, STRETCHES
from t2vu_core.weight_sketch import Comparison, Sketch, compare, sketch

from .apply import denoiser_of
from .architectures import Architecture, spoken
from .found_sites import any_architecture, found_note
from .loaded_weights import LoadedWeights

HASHED = ("float32", "bfloat16", "float16")
"""The formats of which a hash is taken. It is over bf16 values, so bf16 and float32 files of one model agree."""
NO_HASH = ""


@dataclass(frozen=True)
class Weights:
    """What identifies the weights of a MODEL that erasers depend on, without LoRAs."""

    sketch: Sketch
    """Its hash is empty if the weights are in a format that has none."""
    errors: Mapping[str, float]
    """The expected rounding error of each tensor."""


_known: weakref.WeakKeyDictionary[Any, Weights | None] = weakref.WeakKeyDictionary()


def weights_of(model: Any) -> Weights | None:
    """The identity of a MODEL's weights; None if it cannot be taken."""
    if model.model not in _known:
        _known[model.model] = _weights_of(model)
    return _known[model.model]


def same_weights(model: Any, erasure: Erasure, *, confirmed: bool, denoiser: str = ONLY_DENOISER) -> str:
    """What is known about the MODEL's weights, in a few words. `denoiser` is which of a base's two this is.

    Raises UserError if they are not the same up to rounding, unless the user has `confirmed` it; and for another model.
    """
    base, own = erasure.base, weights_of(model)
    if own is not None and own.sketch.hash == base.hash:
        return f"the same weights as {base.name}"
    found = _compared(erasure, own, denoiser)
    if found is not None and found.verdict == "rounded":
        return f"{found}; compared with {base.name}"
    trained = f"This eraser was trained on {base.name} ({spoken(base.family)}), and this MODEL"
    if found is not None and found.verdict == "another":
        raise UserError(
            f"{trained} is another model: their weights differ by {found.off:.0%}. An eraser serves the model that it was "
            "trained on, other number formats of it, and its fine-tunes."
        )
    if confirmed:
        return f"same_base is on: {'not compared with' if found is None else f'{found}, of'} {base.name}"
    if found is not None:
        raise UserError(
            f"{trained} is a fine-tune of it, or was rounded more coarsely before: their weights differ by "
            f"{percent(found.off)}. Switch on same_base to use the eraser on it."
        )
    compared = (
        f"{trained} has other weights ({own.sketch.hash[:12]}, not {base.hash[:12]})"
        if own is not None and own.sketch.hash
        else f"{trained}'s weights cannot be compared with it"
    )
    raise UserError(
        f"{compared}. Switch on same_base if it is that model in another precision, one of its two denoisers, or a fine-tune "
        "of it."
    )


def base_sketch(models: Mapping[str, Any], digest: str) -> Sketch | None:
    """The sketch of a base with these MODELs, by the prefix of their sites; None if it cannot be taken from one.

    Unlike the unpacked numbers, it knows in which format they are stored.
    """
    known = {prefix: weights_of(model) for prefix, model in models.items()}
    parts = [
        (f"{prefix}{name}", found.sketch.precision, found.errors[name], value)
        for prefix, found in known.items()
        if found is not None
        for name, value in found.sketch.values.items()
    ]
    return None if None in known.values() else Sketch.made(digest, parts)


def said_of(model: Any, erasure: Erasure, *, confirmed: bool, denoiser: str = ONLY_DENOISER) -> str:
    """`same_weights`, and what was found by name in a denoiser that is not in the table."""
    said = same_weights(model, erasure, confirmed=confirmed, denoiser=denoiser)
    note = found_note(denoiser_of(model.get_model_object("diffusion_model")))
    return f"{said}; {note}" if note else said


def _compared(erasure: Erasure, own: Weights | None, denoiser: str) -> Comparison | None:
    trained = usable_sketch(erasure.base)
    if trained is None or own is None:
        return None
    if denoiser != ONLY_DENOISER:
        prefix = next(prefix for prefix, name in STRETCHES.items() if name == denoiser)
        trained = trained.part(prefix, () if prefix else (SECOND_DENOISER,))
    if trained.values.keys().isdisjoint(own.sketch.values):
        # Of a diffusers folder whose names are not known here.
        return None
    return compare(trained, own.sketch, own.errors)


@torch.no_grad()
def _weights_of(model: Any) -> Weights | None:
    denoiser = denoiser_of(model.get_model_object("diffusion_model"))
    architecture = any_architecture(denoiser)
    if architecture is None:
        return None
    stored = LoadedWeights(model, denoiser)
    try:
        values = [(name, sketch(tensor)) for name, tensor in architecture.named_base_tensors(denoiser, stored)]
    except (KeyError, AttributeError, NotImplementedError):
        # Other layers, or weights that are not in memory yet.
        return None
    return _identity(architecture, denoiser, stored, values)


def _identity(
    architecture: Architecture, denoiser: nn.Module, stored: LoadedWeights, values: list[tuple[str, float]]
) -> Weights:
    # The errors go through the table of tensors too, as some are parts of a fused one.
    errors = {key: torch.tensor(form.rounding).expand(form.shape) for key, form in stored.formats.items()}
    named = {name: float(part.flatten()[0]) for name, part in architecture.named_base_tensors(denoiser, errors)}
    coarsest = max(stored.formats.values(), key=lambda form: form.rounding).name
    hashed = all(form.plain and form.name in HASHED for form in stored.formats.values())
    digest = hash_tensors(architecture.named_base_tensors(denoiser, stored)) if hashed else NO_HASH
    made = Sketch.made(digest, ((name, coarsest, named[name], value) for name, value in values))
    return Weights(made, named)
