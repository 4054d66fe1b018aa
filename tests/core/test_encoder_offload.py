"""The text encoder leaves the accelerator once prompts are encoded, and comes back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from t2vu_core.model import load_model
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.progress import TrainProgress
from t2vu_core.training.velocity.train import erase_velocity
from tests.core.tiny_models import TINY_MODELS, TinyModel

PROMPTS = ["a red ghost at night"]


def encoders(family: Any) -> list[nn.Module]:
    """Text encoders and VAE: what a step does not need."""
    parts = family.pipeline.components.items()
    return [part for name, part in parts if name.startswith(("text_encoder", "vae")) and part is not None]


def test_on_a_cpu_nothing_is_moved_or_copied(tiny: TinyModel) -> None:
    family = tiny.model.family
    weights = [parameter for encoder in encoders(family) for parameter in encoder.parameters()]
    places = [parameter.data_ptr() for parameter in weights]
    with family.offload_encoder():
        assert [parameter.data_ptr() for parameter in weights] == places
    assert [parameter.data_ptr() for parameter in weights] == places


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU to leave")
def test_it_leaves_the_gpu_and_comes_back(tiny: TinyModel) -> None:
    family = load_model(tiny.folder, device="cuda").family
    before = family.encode(PROMPTS).embeds_BSD
    with family.offload_encoder():
        assert {parameter.device.type for encoder in encoders(family) for parameter in encoder.parameters()} == {"cpu"}
        within = family.encode(PROMPTS).embeds_BSD
        assert within.device.type == "cuda"
        torch.testing.assert_close(within, before, atol=1e-3, rtol=1e-3)
    assert {parameter.device.type for encoder in encoders(family) for parameter in encoder.parameters()} == {"cuda"}
    assert torch.equal(family.encode(PROMPTS).embeds_BSD, before)


def test_training_asks_the_encoder_for_nothing_once_it_has_begun() -> None:
    """The encoder is out of reach from the first trajectory on: if it is asked all the same, the training fails."""
    model = TINY_MODELS["cogvideox-2b"].model
    recipe = VelocityRecipe(concept_trajectories=2, preserve_trajectories=2, trajectory_steps=2, steps=2, rank=2)
    handles: list[Any] = []

    def lock(*_: object) -> None:
        raise AssertionError("the text encoder was asked after it had left")

    def on_progress(done: TrainProgress) -> None:
        if not handles and done.stage == "trajectories":
            handles.append(model.family.pipeline.text_encoder.register_forward_pre_hook(lock))
        if done.preview is not None:
            done.preview()

    try:
        assert erase_velocity(model, "ghost", recipe, on_progress=on_progress).training["steps"] == 2
    finally:
        for handle in handles:
            handle.remove()
    assert handles
