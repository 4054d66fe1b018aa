"""Identity of a text encoder: which weights an unlearned encoder was trained on, and whether another model has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from t2vu_core.erasure import Base, Erasure, hash_tensors
from t2vu_core.errors import UserError
from t2vu_core.families.eraser_site import EraserSite
from t2vu_core.families.text import Text
from t2vu_core.text_encoders import EncoderFacts, encoder_facts, encoder_sites
from t2vu_core.weight_sketch import sketch

SKETCH_TOLERANCE = 4e-3
"""Root mean square over all tensors: rounding to bf16 changes a sketch by about 1.5e-3, a fine-tune by more."""
SKETCH_OUTLIER = 1.2e-2
"""For a single tensor: eight standard deviations of bf16 rounding, which thousands of tensors do not reach by chance."""


def base_of(name: str, weights: Mapping[str, Tensor], facts: Mapping[str, EncoderFacts]) -> Base:
    """Name, kinds and hash of the weights that a delta is added to; their keys end in `weight` or `bias`."""
    return Base(name, "+".join(fact.kind for fact in facts.values()), hash_tensors(sorted(weights.items())))


def describe_encoder(facts: Mapping[str, EncoderFacts], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Properties and a sketch of the weights as JSON values, for the erasure file."""
    return {
        "components": {name: dataclasses.asdict(fact) for name, fact in facts.items()},
        "sketch": {name: float(f"{sketch(weight):.5g}") for name, weight in sorted(weights.items())},
    }


def touched_weights(sites: Mapping[str, EraserSite], names: Sequence[str]) -> dict[str, Tensor]:
    """The weights and biases of the named sites. Raises UserError if a site is missing."""
    missing = [name for name in names if name not in sites]
    if missing:
        raise UserError(f"The unlearned encoder does not fit this model: its encoder has no layer {missing[0]}.")
    return {f"{name}.{key}": value.detach() for name in names for key, value in sites[name].module.named_parameters()}


def site_names(erasure: Erasure) -> list[str]:
    """The sites that an unlearned encoder changes."""
    return sorted({key.rsplit(".", 2)[0] for key in erasure.tensors})


def check_encoder(
    erasure: Erasure, facts: Mapping[str, EncoderFacts], weights: Mapping[str, Tensor], name: str, *, allow_other_base: bool
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
    sites, facts = encoder_sites(text), encoder_facts(text)
    names = [site for site in site_names(erasure) if site in sites]
    check_encoder(erasure, facts, touched_weights(sites, names), name, allow_other_base=allow_other_base)


def check_shared(
    facts: Mapping[str, EncoderFacts], weights: Mapping[str, Tensor], name: str, text: Text, text_name: str
) -> None:
    """Raise UserError unless the model `text_name` shares the encoders of the image model `name`.

    `facts` and `weights` are those of the image model.
    """
    known, sites = encoder_facts(text), encoder_sites(text)
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
    own_weights = touched_weights(sites, sorted({key.rsplit(".", 1)[0] for key in weights}))
    if not _alike({key: sketch(weight) for key, weight in weights.items()}, own_weights):
        raise UserError(
            f"The image model {name} and the model {text_name} have text encoders of the same size with other weights: "
            "unlearning would not carry over. Choose an image model that shares the encoder, or none."
        )


def _alike(known: Mapping[str, float], weights: Mapping[str, Tensor]) -> bool:
    """Whether weights have these sketches, up to rounding to a number format on either side."""
    away = torch.tensor([sketch(weights[name]) - value for name, value in known.items()], dtype=torch.float64)
    return bool(away.pow(2).mean().sqrt() <= SKETCH_TOLERANCE and away.abs().max() <= SKETCH_OUTLIER)


def _sizes(facts: Mapping[str, EncoderFacts]) -> str:
    return " and ".join(map(str, facts.values()))


def same_weights(erasure: Erasure, weights: Mapping[str, Tensor]) -> bool:
    """Whether weights are the erasure's base: equal in bf16, or equal up to rounding to a number format."""
    assert erasure.encoder is not None
    known: Mapping[str, float] = erasure.encoder["sketch"]
    if known.keys() != weights.keys():
        return False
    return _alike(known, weights) or hash_tensors(sorted(weights.items())) == erasure.base.hash
