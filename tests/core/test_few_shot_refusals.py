"""What few-shot unlearning refuses, and with which words: models that do not fit, empty input, wrong settings, files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from t2vu_core.encoder_identity import base_of, check_encoder, describe_encoder
from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.model import load_model
from t2vu_core.quantised_weights import plain_weight
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.text_encoders import EncoderFacts, kind_of
from t2vu_core.training.few_shot.train import unlearn_encoder
from tests.core.tiny_few_shot import TINY, ghostless, recipe, twin
from tests.core.tiny_models import TINY_MODELS


def test_an_encoder_of_an_unknown_kind_is_refused_by_its_class() -> None:
    with pytest.raises(UserError, match="is a Sequential, which is not supported"):
        kind_of(nn.Sequential(nn.Linear(2, 2)))


def test_another_architectures_encoder_is_refused_with_what_it_was() -> None:
    with pytest.raises(
        UserError, match=r"trained on cogvideox-2b, a t5 text encoder 32 wide with 2 layers.*wan-2\.1 has a umt5"
    ):
        TINY_MODELS["wan-2.1"].model.with_erasure(ghostless())


def test_other_weights_are_refused_with_the_hash_unless_allowed() -> None:
    other = TINY_MODELS["ltx-video"].model
    with pytest.raises(UserError, match=rf"cogvideox-2b \({ghostless().base.hash[:12]}\).*weights differ"):
        other.with_erasure(ghostless())
    assert other.with_erasure(ghostless(), allow_other_base=True).erasures


def test_another_tokenizer_is_refused() -> None:
    facts = dict(ghostless().encoder or {})
    facts["components"] = {"text_encoder": {**facts["components"]["text_encoder"], "tokenizer": "0" * 64}}
    with pytest.raises(UserError, match="tokenizer of cogvideox-2b has other pieces"):
        TINY.model.with_erasure(dataclasses.replace(ghostless(), encoder=facts))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_encoder_in_half_precision_is_the_same_encoder(dtype: torch.dtype) -> None:
    half = load_model(TINY.folder, dtype=dtype, device="cpu")
    assert half.with_erasure(ghostless()).erasures


@pytest.mark.parametrize("seed", range(3))
def test_an_encoder_trained_in_bf16_serves_the_same_files_in_fp16_and_no_light_fine_tune_of_them(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    files = {
        f"text_encoder.layers.{layer}.mlp.{name}": torch.randn(64, 48, generator=generator) / 50
        for layer in range(24)
        for name in ("fc1.weight", "fc2.weight", "gate.weight")
    }
    facts = {"text_encoder": EncoderFacts("clip", 48, 24, 100)}
    trained_on = {name: plain_weight(weight.bfloat16()) for name, weight in files.items()}
    base, encoder = base_of("sd-bf16", trained_on, facts), describe_encoder(facts, trained_on)
    erasure = Erasure("unlearned_encoder", ("ghost",), base, {}, "none, for tests", encoder=encoder)

    def check(weights: dict[str, Tensor]) -> None:
        stored = {name: plain_weight(weight) for name, weight in weights.items()}
        check_encoder(erasure, facts, stored, "another", allow_other_base=False)

    def tuned(by: float, where: str) -> dict[str, Tensor]:
        away = {
            name: 1 + by * torch.randn(weight.shape, generator=generator) for name, weight in files.items() if where in name
        }
        return {name: weight * away.get(name, 1) for name, weight in files.items()}

    check({name: weight.half() for name, weight in files.items()})
    check(files)
    for light in (tuned(0.01, ""), tuned(0.05, "layers.7.")):
        with pytest.raises(UserError, match="its weights differ"):
            check(light)


def test_an_image_model_with_another_encoder_is_refused() -> None:
    with pytest.raises(UserError, match="image-twin has a clip text encoder.*cogvideox-2b has a t5.*share no text encoder"):
        unlearn_encoder(TINY.model, "ghost", recipe(), image_model=twin())
    with pytest.raises(UserError, match="image-twin and the model modelscope.*other weights"):
        unlearn_encoder(TINY_MODELS["modelscope"].model, "ghost", recipe(), image_model=twin())


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"concept": ""}, "concept is empty"),
        ({"concept": []}, "concept is empty"),
        ({"concept": "\u6f22\u5b57"}, "cannot read"),
        ({"concept": "ghost", "images": torch.zeros(0, 3, 8, 8)}, "Shots must be images"),
        ({"concept": "ghost", "images": torch.zeros(2, 8, 8)}, "Shots must be images"),
        ({"concept": "ghost", "images": torch.full((1, 3, 8, 8), float("nan"))}, "Shots must be images"),
    ],
)
def test_input_that_says_nothing_is_refused(arguments: dict[str, Any], hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        unlearn_encoder(TINY.model, recipe=recipe(), **arguments)


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"objective": "descent"}, "objective .* must be one of negative_guidance"),
        ({"trained": "norms"}, "trained .* must be one of auto, mlp"),
        ({"stop_at": float("nan")}, "stop_at .* must be between"),
        ({"shots": 0}, "shots .* must be between"),
        ({"speed": 1}, "no setting 'speed'"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(changes: dict[str, Any], hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        recipe(**changes)


def test_a_file_that_does_not_say_its_encoder_is_refused(tmp_path: Path) -> None:
    for encoder in (None, {}, {"components": {"text_encoder": {}}, "sketch": {}}, {"components": {}, "sketch": {}}):
        path = dataclasses.replace(ghostless(), encoder=encoder).save(tmp_path / "x")
        with pytest.raises(UserError, match="does not say which text encoder"):
            Erasure.load(path)


def test_the_presets_exist_and_an_unknown_one_is_refused() -> None:
    for name in ("quick", "balanced", "thorough"):
        assert FewShotRecipe.preset(name).describe()["objective"] == "negative_guidance"
    with pytest.raises(UserError, match="quick, balanced, thorough"):
        FewShotRecipe.preset("best")
