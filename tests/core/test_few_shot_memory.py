"""Memory of a training run: large denoisers and text encoders compute their inside again, and forget as they would."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

from t2vu_core.families.text import Text
from t2vu_core.text_encoders import encoder_layers
from t2vu_core.training.few_shot import shot_models
from t2vu_core.training.few_shot.train import unlearn_encoder
from tests.core.tiny_few_shot import VIDEO, recipe, small, twin
from tests.core.tiny_models import TINY_MODELS

NAMES = ("animatediff", "cogvideox-2b", "wan-2.1", "hunyuan-video")
LENGTHS = {"animatediff": [2], "cogvideox-2b": [2], "wan-2.1": [2], "hunyuan-video": [3, 1]}


@pytest.mark.parametrize("name", NAMES)
def test_the_layers_of_an_encoder_are_its_blocks(name: str) -> None:
    encoders = TINY_MODELS[name].model.family.text.encoders
    assert [len(encoder_layers(encoder)) for encoder in encoders.values()] == LENGTHS[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_large_encoder_is_computed_twice_and_forgets_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, passes = TINY_MODELS[name], []
    layer = encoder_layers(tiny.model.family.pipeline.text_encoder)[0]
    inner = next(module for module in layer.modules() if isinstance(module, torch.nn.Linear))
    handle = inner.register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    settings = recipe(steps=2, shots=1, **small(tiny))
    try:
        kept = unlearn_encoder(tiny.model, "ghost", settings)
        once = len(passes)
        monkeypatch.setattr(shot_models, "CHECKPOINT_FROM", 0)
        again = unlearn_encoder(tiny.model, "ghost", settings)
    finally:
        handle.remove()
    # Besides the two steps, the search for layers that a prompt passes has a backward pass.
    assert len(passes) - once >= once + settings.steps
    assert again.training["losses"] == pytest.approx(kept.training["losses"], rel=1e-3)
    for key, tensor in kept.tensors.items():
        torch.testing.assert_close(again.tensors[key].float(), tensor.float(), atol=2e-3, rtol=2e-2)


def test_afterwards_the_models_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shot_models, "CHECKPOINT_FROM", 0)
    llama = TINY_MODELS["hunyuan-video"]
    unlearn_encoder(llama.model, "ghost", recipe(steps=1, shots=1, **small(llama)))
    unlearn_encoder(VIDEO.model, "ghost", recipe(steps=1, shots=1), image_model=twin())
    pipelines: list[Any] = [llama.model.family.pipeline, VIDEO.model.family.pipeline, twin().pipeline]
    for encoder in (each for pipeline in pipelines for each in Text.of(pipeline).encoders.values()):
        assert all(inspect.ismethod(layer.forward) for layer in encoder_layers(encoder))
    assert pipelines[0].text_encoder.config.use_cache is True
    assert not twin().pipeline.unet.is_gradient_checkpointing
