"""Identity of a text encoder: which weights an unlearned encoder was trained on, and whether another model has them."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from t2vu_core.base_identity import usable_sketch
from t2vu_core.erasure import Base, Erasure, hash_tensors
from t2vu_core.errors import UserError
from t2vu_core.families.text import Text
from t2vu_core.formatting import percent
from t2vu_core.quantised_weights import StoredWeight
from t2vu_core.text_encoders import EncoderFacts, encoder_facts, encoder_sites
from t2vu_core.weight_sketch import OUTLIER, ROUNDED, Sketch, sketch

log = logging.getLogger(__name__)

SKETCH_TOLERANCE = 4e-3
"""Root mean square over all tensors: rounding to bf16 changes a sketch by about 1.5e-3, a fine-tune by more."""
SKETCH_OUTLIER = 1.2e-2
"""For a single tensor: eight standard deviations of bf16 rounding, which thousands of tensors do not reach by chance."""
COARSE = 3e-3
"""Expected rounding error from which on a format gets a tolerance of its own, such as fp8; bf16 has less."""


class TouchedWeights(Mapping[str, StoredWeight]):
    """The weights and biases of some sites, as `<site>.weight` and `<site>.bias`; each is unpacked when it is read."""

    def __init__(self, text: Text, names: Sequence[str]) -> None:
        """Raises UserError if a site is missing."""
        sites = encoder_sites(text)
        missing = [name for name in names if name not in sites]
        if missing:
            raise UserError(f"The unlearned encoder does not fit this model: its encoder has no layer {missing[0]}.")
        self._stored = text.stored
        self._modules = {
            f"{name}.{key}": sites[name].module
            for name in names
            for key in ("weight", "bias")
            if getattr(sites[name].module, key, None) is not None
        }

    def __getitem__(self, key: str) -> StoredWeight:
        return self._stored(self._modules[key], key.rpartition(".")[2])

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


Stored = Mapping[str, StoredWeight]


def base_of(name: str, weights: Stored, facts: Mapping[str, EncoderFacts]) -> Base:
    """Name, kinds and hash of the weights that a delta is added to; in a coarse format such as fp8, also their sketch.

    The sketch says how coarse the format is.
    """
    digest = _hash(weights)
    stored = ((key, weights[key]) for key in sorted(weights))
    parts = [(key, weight.format, weight.rounding, sketch(weight.values)) for key, weight in stored]
    coarse = any(error > COARSE for _, _, error, _ in parts)
    return Base(name, "+".join(fact.kind for fact in facts.values()), digest, Sketch.made(digest, parts) if coarse else None)


def describe_encoder(facts: Mapping[str, EncoderFacts], weights: Stored) -> dict[str, Any]:
    """Properties and a sketch of the weights as JSON values, for the erasure file."""
    return {
        "components": {name: dataclasses.asdict(fact) for name, fact in facts.items()},
        "sketch": {name: float(f"{sketch(weights[name].values):.5g}") for name in sorted(weights)},
    }


def site_names(erasure: Erasure) -> list[str]:
    """The sites that an unlearned encoder changes."""
    return sorted({key.rsplit(".", 2)[0] for key in erasure.tensors})


def check_encoder(
    erasure: Erasure, facts: Mapping[str, EncoderFacts], weights: Stored, name: str, *, allow_other_base: bool
) -> None:
    """Raise UserError unless an unlearned encoder was trained on this encoder; the message names both.

    `allow_other_base` accepts other weights and another tokenizer of the same size, but not another architecture.
    """
    assert erasure.encoder is not None
    was = {component: EncoderFacts(**fact) for component, fact in erasure.encoder["components"].items()}
    for component, fact in was.items():
        own = facts.get(component)
        trained_on = f"This unlearned encoder was trained on {erasure.base.name}, {fact}"
        if own is None or own.without_tokenizer() != fact.without_tokenizer():
            has = "no such encoder" if own is None else str(own)
            raise UserError(f"{trained_on}; {name} has {has}. It can only serve models that share that encoder.")
        if not allow_other_base and None not in (own.tokenizer, fact.tokenizer) and own.tokenizer != fact.tokenizer:
            raise UserError(f"{trained_on}; the tokenizer of {name} has other pieces, so the same words give other tokens.")
    if not allow_other_base and not same_weights(erasure, weights):
        raise UserError(
            f"This unlearned encoder was trained on {erasure.base.name} ({erasure.base.hash[:12]}), {_sizes(was)}; the "
            f"encoder of {name} is of that size but its weights differ. Load a model that shares the encoder, or allow "
            "another base explicitly if this one is a fine-tune of it."
        )


def check_text(erasure: Erasure, text: Text, name: str, *, allow_other_base: bool) -> None:
    """`check_encoder` for the text encoders of a model."""
    sites = encoder_sites(text)
    weights = TouchedWeights(text, [site for site in site_names(erasure) if site in sites])
    check_encoder(erasure, encoder_facts(text), weights, name, allow_other_base=allow_other_base)


def check_shared(facts: Mapping[str, EncoderFacts], weights: Stored, name: str, text: Text, text_name: str) -> None:
    """Raise UserError unless the model `text_name` shares the encoders of the image model `name`.

    `facts` and `weights` are those of the image model.
    """
    known = encoder_facts(text)
    if any(component not in known or known[component].without_tokenizer() != fact.without_tokenizer()
           for component, fact in facts.items()):  # fmt: skip
        raise UserError(
            f"The image model {name} has {_sizes(facts)}, the model {text_name} has {_sizes(known)}: they share no text "
            "encoder. Choose an image model that shares it, or none: the gradient then comes from the video model itself."
        )
    if any(known[component].tokenizer != fact.tokenizer for component, fact in facts.items()):
        raise UserError(
            f"The image model {name} and the model {text_name} have text encoders of the same size, but their tokenizers "
            "have other pieces, so the same words give other tokens. Choose an image model that shares the encoder, or none."
        )
    own_weights = TouchedWeights(text, sorted({key.rsplit(".", 1)[0] for key in weights}))
    coarsest = max(stored.rounding for stored in weights.values())
    if not _alike({key: sketch(weights[key].values) for key in weights}, coarsest, own_weights):
        raise UserError(
            f"The image model {name} and the model {text_name} have text encoders of the same size with other weights: "
            "unlearning would not carry over. Choose an image model that shares the encoder, or none."
        )


def same_weights(erasure: Erasure, weights: Stored) -> bool:
    """Whether weights are the erasure's base: equal in bf16, or equal up to rounding to a number format."""
    assert erasure.encoder is not None
    known: Mapping[str, float] = erasure.encoder["sketch"]
    if known.keys() != weights.keys():
        return False
    trained = usable_sketch(erasure.base)
    return _alike(known, 0.0 if trained is None else trained.rounding, weights) or _hash(weights) == erasure.base.hash


def _hash(weights: Stored) -> str:
    return hash_tensors((name, weights[name].values) for name in sorted(weights))


def _alike(known: Mapping[str, float], rounding: float, weights: Stored) -> bool:
    """Whether weights have these sketches, up to rounding to a number format on either side; `rounding` is theirs."""
    away, noise = [], []
    for name, value in known.items():
        stored = weights[name]
        away.append(sketch(stored.values) - value)
        noise.append(math.hypot(*(error for error in (rounding, stored.rounding) if error > COARSE)))
    distance, expected = torch.tensor(away, dtype=torch.float64), torch.tensor(noise, dtype=torch.float64)
    limit = max(SKETCH_TOLERANCE, ROUNDED * float(expected.square().mean().sqrt()))
    outliers = distance.abs() > (OUTLIER * expected).clamp_min(SKETCH_OUTLIER)
    alike = float(distance.square().mean().sqrt()) <= limit and not bool(outliers.any())
    if alike and bool(expected.any()):
        log.info("The text encoder is the same but for rounding; a fine-tune of less than %s cannot be told from it.",
                 percent(limit))  # fmt: skip
    return alike


def _sizes(facts: Mapping[str, EncoderFacts]) -> str:
    return " and ".join(map(str, facts.values()))
