"""The denoising loop, and decoding through it with too little memory: clips, images and shots alike."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from t2vu_core.sampling import denoise
from t2vu_core.training.few_shot.shot_models import ImageShots, ShotModel, VideoShots
from tests.core.tiny_few_shot import TINY, twin


class Halving:
    """A scheduler whose step takes half of the prediction away."""

    timesteps = torch.tensor([9, 5, 1])

    def step(self, prediction: Tensor, timestep: Tensor, latents: Tensor, return_dict: bool) -> tuple[Tensor]:
        return (latents - prediction / 2,)


def test_each_step_predicts_at_the_latents_that_the_step_before_gave() -> None:
    asked: list[tuple[float, int]] = []
    told: list[tuple[int, int, float]] = []

    def predict(latents: Tensor, timestep: Tensor) -> Tensor:
        asked.append((latents.item(), int(timestep)))
        return latents

    end = denoise(Halving(), torch.tensor(8.0), predict, on_step=lambda *step: told.append((*step[:2], step[2].item())))
    assert asked == [(8, 9), (4, 5), (2, 1)]
    assert told == [(1, 3, 4), (2, 3, 2), (3, 3, 1)]
    assert end.item() == 1


def test_a_family_may_step_in_its_own_way() -> None:
    steps: list[Any] = []

    def step(scheduler: Any, prediction: Tensor, timestep: Tensor, latents: Tensor) -> Tensor:
        steps.append(scheduler)
        return latents + prediction

    scheduler = SimpleNamespace(timesteps=torch.tensor([2, 1]))
    assert denoise(scheduler, torch.tensor(1.0), lambda latents, _: latents, step=step).item() == 4
    assert steps == [scheduler] * 2


@pytest.mark.parametrize("kind", ["image model", "video model"])
def test_shots_too_large_to_decode_whole_are_decoded_in_tiles(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shots: ShotModel = ImageShots(twin()) if kind == "image model" else VideoShots(TINY.model)
    vae = (twin() if kind == "image model" else TINY.model.family).pipeline.vae
    whole, decode = shots.sample(["a ghost"], [1], 2), vae.decode

    def too_small(*args: Any, **kwargs: Any) -> Any:
        if not vae.use_tiling:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return decode(*args, **kwargs)

    monkeypatch.setattr(vae, "decode", too_small)
    assert shots.sample(["a ghost"], [1], 2).shape == whole.shape
    assert not vae.use_tiling, "the next shot may fit"
