"""What an image model's encoder forgets, in the video models that share it; and what is said where they do not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from diffusers import TextToVideoSDPipeline

from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.model import T2VModel, load_model
from t2vu_core.training.few_shot.train import unlearn_encoder
from tests.core.tiny_few_shot import VIDEO, recipe, twin
from tests.core.tiny_models import TINY_MODELS
from tests.core.tiny_tokenizers import clip_tokenizer

ZEROSCOPE = TINY_MODELS["modelscope"]
PROMPTS = ["a ghost", "a red ghost over a hill", "a dog"]
STRENGTH = 20.0
WAS = "image-twin, a clip text encoder 32 wide with 2 layers and 86 tokens"


def zeroscope(folder: Path, encoder: Any, tokenizer: Any = None) -> T2VModel:
    """ModelScope's and ZeroScope's classes with another text encoder in them."""
    stock = ZEROSCOPE.stock()
    TextToVideoSDPipeline(stock.vae, encoder, tokenizer or clip_tokenizer(), stock.unet, stock.scheduler).save_pretrained(
        folder
    )
    return load_model(folder, device="cpu")


@cache
def ghostless() -> Erasure:
    """Trained through the image model, for the AnimateDiff that shares its encoder."""
    return unlearn_encoder(VIDEO.model, "ghost", recipe(steps=2), image_model=twin())


def shared_encoder() -> Any:
    return copy.deepcopy(VIDEO.model.family.pipeline.text_encoder)


def other_weights() -> Any:
    torch.manual_seed(11)
    return t.CLIPTextModel(shared_encoder().config)


def resized(**changes: Any) -> Callable[[], Any]:
    def build() -> Any:
        config = copy.deepcopy(shared_encoder().config)
        config.update(changes)
        return t.CLIPTextModel(config)

    return build


def other_pieces() -> Any:
    """As many pieces, two of which have changed places."""
    pieces = clip_tokenizer().get_vocab()
    pieces["g</w>"], pieces["t</w>"] = pieces["t</w>"], pieces["g</w>"]
    return clip_tokenizer(pieces)


def test_one_encoder_serves_animatediff_and_zeroscope_alike(tmp_path: Path) -> None:
    video = zeroscope(tmp_path / "zeroscope", shared_encoder())
    frozen = twin().encode(PROMPTS).embeds_BSD
    read = []
    for model in (VIDEO.model, video):
        with model.with_erasure(ghostless(), STRENGTH).active() as family:
            read.append(family.encode(PROMPTS).embeds_BSD)
        assert torch.equal(model.family.encode(PROMPTS).embeds_BSD, frozen)
    assert torch.equal(read[0], read[1])
    assert not torch.allclose(read[0], frozen, atol=1e-3)
    before, after = (
        ZEROSCOPE.sample_ours(model, PROMPTS[:1], [0], 3.0) for model in (video, video.with_erasure(ghostless(), STRENGTH))
    )
    assert not torch.equal(before, after)


def test_an_encoder_is_trained_for_zeroscope_through_its_image_model(tmp_path: Path) -> None:
    video = zeroscope(tmp_path / "zeroscope", shared_encoder())
    erasure = unlearn_encoder(video, "ghost", recipe(steps=2), image_model=twin())
    assert erasure.training["through"] == "image-twin"
    # The gradient is the image model's: for which video model it is asked does not matter.
    assert all(torch.equal(erasure.tensors[name], tensor) for name, tensor in ghostless().tensors.items())


@pytest.mark.parametrize(
    ("encoder", "tokenizer", "applying", "training"),
    [
        (other_weights, None, r"of that size but its weights differ", r"same size with other weights"),
        (
            resized(hidden_size=16, num_attention_heads=2),
            None,
            r"zeroscope has a clip text encoder 16 wide with 2 layers",
            r"zeroscope has a clip text encoder 16 wide.*share no text encoder",
        ),
        (
            resized(num_hidden_layers=3),
            None,
            r"zeroscope has a clip text encoder 32 wide with 3 layers",
            r"zeroscope has a clip text encoder 32 wide with 3 layers.*share no text encoder",
        ),
        (
            shared_encoder,
            other_pieces,
            r"the tokenizer of zeroscope has other pieces",
            r"image-twin and the model zeroscope.*tokenizers have other pieces",
        ),
    ],
    ids=["weights", "width", "layers", "tokenizer"],
)
def test_a_model_with_another_encoder_is_refused_with_the_one_it_was(
    encoder: Callable[[], Any], tokenizer: Callable[[], Any] | None, applying: str, training: str, tmp_path: Path
) -> None:
    other = zeroscope(tmp_path / "zeroscope", encoder(), tokenizer and tokenizer())
    with pytest.raises(UserError, match=applying) as refused:
        other.with_erasure(ghostless())
    named = WAS.split(", ", 1)
    assert all(part in str(refused.value) for part in named)
    with pytest.raises(UserError, match=training) as refused:
        unlearn_encoder(other, "ghost", recipe(steps=1), image_model=twin())
    assert "image-twin" in str(refused.value)


def test_a_fine_tune_of_the_encoder_can_be_allowed_and_another_architecture_cannot(tmp_path: Path) -> None:
    tuned = zeroscope(tmp_path / "tuned", other_weights())
    assert tuned.with_erasure(ghostless(), allow_other_base=True).erasures
    wide = zeroscope(tmp_path / "wide", resized(num_hidden_layers=3)())
    with pytest.raises(UserError, match="can only serve models that share that encoder"):
        wide.with_erasure(ghostless(), allow_other_base=True)


def test_strength_is_a_scaled_change_of_the_weights() -> None:
    merged = shared_encoder()
    with torch.no_grad():
        for key, change in ghostless().tensors.items():
            site, _, parameter = key.rsplit(".", 2)
            name = site.removeprefix("text_encoder.")
            modules = dict(merged.named_modules())
            module = modules.get(name) or modules[f"text_model.{name}"]
            getattr(module, parameter).add_(2.5 * change.float())
    ids = twin().pipeline.tokenizer(PROMPTS, padding="max_length", max_length=77, return_tensors="pt").input_ids
    with VIDEO.model.with_erasure(ghostless(), 2.5).active() as family:
        applied = family.encode(PROMPTS).embeds_BSD
    torch.testing.assert_close(applied, merged(ids)[0], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(applied, shared_encoder()(ids)[0], atol=1e-4)
