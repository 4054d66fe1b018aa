"""While shots are made: cancel takes effect within a denoising step, and the progress moves with every one."""

from __future__ import annotations

from typing import Any

import pytest

from t2vu_core.errors import Cancelled
from t2vu_core.image_model import ImageModel
from t2vu_core.training.few_shot.shots import SHOT_BATCH
from t2vu_core.training.few_shot.train import unlearn_encoder
from t2vu_core.training.progress import TrainProgress
from tests.core.tiny_few_shot import TINY, VIDEO, recipe, twin
from tests.core.tiny_models import TinyModel

SHOTS = SHOT_BATCH + 1


def through(name: str) -> tuple[TinyModel, ImageModel | None, Any]:
    """A model, the image model that draws its shots if one does, and the denoiser that draws."""
    if name == "image model":
        return VIDEO, twin(), twin().pipeline.unet
    return TINY, None, TINY.model.family.pipeline.transformer


@pytest.mark.parametrize("name", ["image model", "video model"])
def test_cancel_in_the_middle_of_the_first_shots_stops_at_that_denoising_step(name: str) -> None:
    tiny, image_model, denoiser = through(name)
    passes: list[int] = []

    def cancel(progress: TrainProgress) -> None:
        if progress.stage == "shots" and progress.step == 3:
            assert progress.preview is None, "no shot is finished"
            raise Cancelled

    handle = denoiser.register_forward_hook(lambda *_: passes.append(1))
    try:
        with pytest.raises(Cancelled):
            unlearn_encoder(tiny.model, "ghost", recipe(shots=SHOTS, shot_steps=9), image_model=image_model, on_progress=cancel)
    finally:
        handle.remove()
    assert 3 <= len(passes) <= 2 * 3, "with guidance a step has two passes at the most"


@pytest.mark.parametrize("name", ["image model", "video model"])
def test_the_progress_of_the_shots_moves_with_every_denoising_step_and_shows_all_that_are_made(name: str) -> None:
    tiny, image_model, _ = through(name)
    told: list[tuple[int, int]] = []
    shown: list[int] = []

    def look(progress: TrainProgress) -> None:
        if progress.stage == "shots":
            told.append((progress.step, progress.total))
            shown.append(0 if progress.preview is None else len(progress.preview()))

    unlearn_encoder(tiny.model, "ghost", recipe(shots=SHOTS, shot_steps=4, steps=1), image_model=image_model, on_progress=look)
    steps, totals = zip(*told, strict=True)
    assert list(steps) == sorted(steps)
    assert len(set(totals)) == 1
    assert set(steps) == set(range(1, totals[0] + 1))
    assert shown[0] == 0
    assert SHOT_BATCH in shown
    assert (steps[-1], shown[-1]) == (totals[0], SHOTS)
