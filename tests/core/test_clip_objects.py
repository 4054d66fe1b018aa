"""Which CLIP of ComfyUI an unlearned encoder may be applied to, by its weights alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.interchange.clip_objects import clip_encoders, clip_layers
from t2vu_core.interchange.encoder_files import comfyui_tensors
from t2vu_core.quantised_weights import StoredWeight, plain_weight
from tests.core.test_few_shot_comfyui import CLIPS, Encoder, make

KINDS = ("clip", "t5")


@pytest.fixture(scope="module", params=KINDS)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return make(request.param)


@pytest.fixture(scope="module")
def erasure(encoder: Encoder) -> Erasure:
    return encoder.random_erasure()


def loaded(encoder: Encoder, clip: str | None = None) -> dict[str, Tensor]:
    """The weights of a CLIP with this encoder, by ComfyUI's names."""
    return {f"{clip or CLIPS[encoder.kind]}.transformer.{name}": value for name, value in encoder.weights().items()}


def stored(weights: Mapping[str, Tensor]) -> dict[str, StoredWeight]:
    return {name: plain_weight(value) for name, value in weights.items()}


def clip_tensors(erasure: Erasure, weights: Mapping[str, StoredWeight], *, allow_other_base: bool) -> dict[str, Tensor]:
    """The changes for a CLIP with these weights."""
    tensors, _ = comfyui_tensors(erasure, clip_encoders(erasure, weights, allow_other_base=allow_other_base))
    return tensors


def test_every_layer_of_the_erasure_has_a_weight_in_the_clip(encoder: Encoder, erasure: Erasure) -> None:
    weights = loaded(encoder, "a_name")
    layers = clip_layers(erasure, clip_encoders(erasure, stored(weights), allow_other_base=False))
    assert layers.keys() == {key.rsplit(".", 2)[0] for key in erasure.tensors}
    assert {f"{layer}.weight" for layer in layers.values()} <= weights.keys()


def test_the_encoder_that_it_was_trained_on_gets_every_change(encoder: Encoder, erasure: Erasure) -> None:
    tensors = clip_tensors(erasure, stored(loaded(encoder)), allow_other_base=False)
    assert len(tensors) == len(erasure.tensors)
    assert all(name.startswith(f"text_encoders.{CLIPS[encoder.kind]}.transformer.") for name in tensors)


def test_an_encoder_of_another_name_is_found_and_the_usual_one_comes_first(encoder: Encoder, erasure: Erasure) -> None:
    usual, other = loaded(encoder), loaded(encoder, "a_name")
    for weights, clip in ((other, "a_name"), ({**other, **usual}, CLIPS[encoder.kind])):
        tensors = clip_tensors(erasure, stored(weights), allow_other_base=False)
        assert {name.split(".")[1] for name in tensors} == {clip}


@pytest.mark.parametrize("parameter", ["weight", "bias"])
def test_other_values_are_refused_unless_another_base_is_allowed(encoder: Encoder, erasure: Erasure, parameter: str) -> None:
    weights = loaded(encoder)
    changed = {key: value + 0.1 * torch.arange(value.numel()).view_as(value) for key, value in weights.items()
               if key.endswith(f".{parameter}")}  # fmt: skip
    if not changed:
        pytest.skip("T5 has no biases")
    with pytest.raises(UserError, match="its weights differ"):
        clip_tensors(erasure, stored(weights | changed), allow_other_base=False)
    assert clip_tensors(erasure, stored(weights | changed), allow_other_base=True)


def test_an_encoder_with_a_layer_of_another_size_is_refused(encoder: Encoder, erasure: Erasure) -> None:
    weights = loaded(encoder)
    key = next(key for key, value in weights.items() if value.ndim == 2 and "embed" not in key and "shared" not in key)
    for other in ({**weights, key: weights[key][:-1]}, {name: value for name, value in weights.items() if name != key}):
        with pytest.raises(UserError, match="which has other layers"):
            clip_tensors(erasure, stored(other), allow_other_base=True)


def test_an_encoder_with_fewer_layers_is_refused_even_if_it_has_those_that_change(encoder: Encoder, erasure: Erasure) -> None:
    first = {key: value for key, value in erasure.tensors.items() if ".0." in key}
    weights = loaded(encoder)
    shallow = {key: value for key, value in weights.items() if "layers.1." not in key and "block.1." not in key}
    assert len(shallow) < len(weights)
    lower = dataclasses.replace(erasure, tensors=first)
    assert len(clip_tensors(lower, stored(weights), allow_other_base=True)) == len(first)
    with pytest.raises(UserError, match="which has other layers"):
        clip_tensors(lower, stored(shallow), allow_other_base=True)
