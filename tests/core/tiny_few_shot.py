"""Few-shot trainings small enough for tests: their settings, one encoder that many tests look at, an image model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from t2vu_core.erasure import Erasure
from t2vu_core.errors import Cancelled
from t2vu_core.families.text import Text
from t2vu_core.image_model import ImageModel, load_image_model
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.training.few_shot.train import unlearn_encoder
from t2vu_core.training.progress import TrainProgress
from tests.core.tiny_models import TINY_MODELS, TinyModel, image_unet, image_vae

TINY = TINY_MODELS["cogvideox-2b"]
VIDEO = TINY_MODELS["animatediff"]
FEW = {
    "shots": 2, "shot_steps": 2, "prompts": 4, "preserve_prompts": 3, "steps": 4, "batch": 2, "preserve_batch": 2,
    "stop_at": -100.0,
}  # fmt: skip


def recipe(**changes: Any) -> FewShotRecipe:
    """A training run of seconds, with single settings changed."""
    return FewShotRecipe.preset("quick", **{**FEW, **changes})


def small(tiny: TinyModel) -> dict[str, int]:
    """The size of a tiny model's frames, as a recipe takes it."""
    return {"height": tiny.height, "width": tiny.width}


@cache
def ghostless() -> Erasure:
    """One training that several tests look at."""
    return unlearn_encoder(TINY.model, "ghost", recipe())


def sample(model: Any) -> Tensor:
    """A clip of the concept, (1, F, C, H, W)."""
    return TINY.sample_ours(model, ["a red ghost"], [0], 3.0)


def encoder_state(pipeline: Any) -> dict[str, Tensor]:
    """A copy of everything that a pipeline's text encoders hold."""
    return {
        f"{component}.{name}": value.clone()
        for component, encoder in Text.of(pipeline).encoders.items()
        for name, value in encoder.state_dict().items()
    }


@cache
def twin() -> ImageModel:
    """An image model that shares text encoder and tokenizer with the tiny AnimateDiff."""
    video = VIDEO.model.family.pipeline
    torch.manual_seed(3)
    scheduler = video.scheduler
    pipeline = StableDiffusionPipeline(
        image_vae(), video.text_encoder, video.tokenizer, image_unet(), scheduler, None, None, requires_safety_checker=False
    )
    folder = VIDEO.folder.parent / "image-twin"
    pipeline.save_pretrained(folder)
    return load_image_model(folder, device="cpu")


def stopped_at(step: int) -> Callable[[TrainProgress], None]:
    """A callback that cancels the training at that step."""

    def stop(progress: TrainProgress) -> None:
        if progress.stage == "training" and progress.step == step:
            raise Cancelled

    return stop
