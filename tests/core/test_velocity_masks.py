"""Localisation: where the concept is, what erasers may change there, and the mask that a person sees."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.errors import UserError
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.progress import TrainProgress
from t2vu_core.training.run import Run
from t2vu_core.training.velocity.localizing import OutsideMask
from t2vu_core.training.velocity.points import TrainingPoints, sample_points
from t2vu_core.training.velocity.step import VelocityStep
from t2vu_core.training.velocity.train import erase_velocity
from tests.core.tiny_models import TINY_MODELS, TinyModel
from tests.core.tiny_training import points_of, recipe

TINY = TINY_MODELS["cogvideox-2b"]


@pytest.fixture(params=["prediction", "attention"])
def mask_source(request: pytest.FixtureRequest) -> str:
    return request.param


def loss_and_gradients(tiny: TinyModel, points: TrainingPoints, recipe: VelocityRecipe) -> tuple[float, dict[str, Tensor]]:
    """The first step's, with erasers that do something."""
    family = tiny.model.family
    erasers = tiny.random_erasers(recipe.kind, scale=0.1).requires_grad_(True)
    sites = erasers.fit(family.sites())
    localizing = OutsideMask(family, sites, points.size)
    checkpointing = family.gradient_checkpointing() if recipe.gradient_checkpointing else contextlib.nullcontext()
    with checkpointing, erasers.attached(sites, record=localizing.record):
        loss = VelocityStep(Run(family, recipe), points, erasers, localizing).loss(0)
        loss.backward()
    return loss.item(), {name: parameter.grad for name, parameter in erasers.named_parameters() if parameter.grad is not None}


def test_localisation_costs_what_erasers_add_outside_the_masks_on_every_architecture(tiny: TinyModel, mask_source: str) -> None:
    asked = recipe(steps=1, mask_source=mask_source)
    points = points_of(tiny, asked)
    assert points.concept.masks is not None
    assert points.concept.masks.min() == 0
    assert points.concept.masks.max() == 255
    without, _ = loss_and_gradients(tiny, points, asked)
    costs = []
    for threshold in (0.2, 0.8):
        paid, gradients = loss_and_gradients(tiny, points, recipe(localization_weight=10.0, mask_threshold=threshold))
        costs.append(paid - without)
        assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert 0 < costs[0] < costs[1], "a smaller mask leaves more outside"


def test_localisation_and_gradient_checkpointing_go_together(tiny: TinyModel) -> None:
    points = points_of(tiny, recipe())
    plain = loss_and_gradients(tiny, points, recipe(localization_weight=10.0))
    again = loss_and_gradients(tiny, points, recipe(localization_weight=10.0, gradient_checkpointing=True))
    assert again[0] == pytest.approx(plain[0], rel=1e-5)
    for name, gradient in plain[1].items():
        torch.testing.assert_close(again[1][name], gradient, atol=1e-6, rtol=1e-3)


def test_localised_training_adds_less_outside_the_mask() -> None:
    added = {}
    points = points_of(TINY, recipe())
    family = TINY.model.family
    for weight in (0.0, 100.0):
        asked = recipe(kind="bottleneck", steps=30, learning_rate=1e-2, localization_weight=weight)
        erasure = erase_velocity(TINY.model, "ghost", asked)
        erasers = EraserSet.from_tensors(erasure.tensors)
        localizing = OutsideMask(family, family.eraser_sites(), points.size)
        with erasers.attached(family.eraser_sites(), record=localizing.record):
            asked = recipe(localization_weight=1.0, preserve_batch=0, eta=0.0)
            total = VelocityStep(Run(family, asked), points, erasers, localizing).loss(0)
            plain = VelocityStep(Run(family, recipe(preserve_batch=0, eta=0.0)), points, erasers, localizing).loss(0)
        added[weight] = float((total - plain).detach())
    assert added[100.0] < 0.5 * added[0.0]


def test_a_prompt_that_does_not_spell_the_concept_allows_every_place(mask_source: str) -> None:
    asked = recipe(mask_source=mask_source)
    points = points_of(TINY, asked)
    family = TINY.model.family
    prompts = points.prompts
    prompts.positions["concept"][0] = []
    unspoken = sample_points(Run(family, asked), prompts, masks="all")
    assert unspoken.concept.masks is not None
    assert (unspoken.concept.masks[0] == 255).all()
    assert not (unspoken.concept.masks[1] == 255).all()


def test_a_lora_cannot_be_localised_and_says_why() -> None:
    with pytest.raises(UserError, match="cannot confine its output to a place in the clip"):
        recipe(kind="lora", localization_weight=1.0)


def test_the_masks_of_on_policy_points_are_the_frozen_models() -> None:
    from t2vu_core.training.velocity.points import refreshed

    # With one step both set out from the same noise: only the student's own attention could tell the masks apart.
    asked = recipe(trajectory_steps=1, localization_weight=1.0, mask_source="attention")
    points, family = points_of(TINY, asked), TINY.model.family
    new, student = EraserSet.create(family.eraser_sites(), rank=4, seed=0), TINY.random_erasers("bottleneck", scale=0.5)
    own, led = (refreshed(Run(family, asked), points, erasers, 1).concept for erasers in (new, student))
    assert not torch.equal(led.ends, own.ends)
    assert led.masks is not None
    assert torch.equal(led.masks, own.masks)


def test_a_clip_under_its_mask_is_shown_and_left_next_to_the_state(tmp_path: Path) -> None:
    import av

    seen: list[Tensor] = []

    def look(done: TrainProgress) -> None:
        if done.stage == "mask" and done.preview is not None:
            seen.append(done.preview()[0])

    with_mask = erase_velocity(TINY.model, "ghost", recipe(steps=2), log_folder=tmp_path, on_progress=look)
    assert seen[0].shape == (TINY.num_frames, 3, TINY.height, TINY.width)
    assert 0 <= seen[0].min() < seen[0].max() <= 1
    with av.open(str(tmp_path / "mask_overlay.mp4")) as container:
        frames = list(container.decode(video=0))
    assert len(frames) >= TINY.num_frames
    plain = erase_velocity(TINY.model, "ghost", recipe(steps=2))
    assert all(torch.equal(with_mask.tensors[name], plain.tensors[name]) for name in plain.tensors), "looking changes nothing"


def test_a_mask_darkens_all_but_the_concept_in_the_frames_that_it_stands_for() -> None:
    from t2vu_core.training.velocity.mask_overlay import DARK, shade

    mask = torch.zeros(3, 2, 2)
    mask[0, 0, 0] = mask[2, 1, 1] = 1.0
    shaded = shade(torch.ones(9, 3, 4, 4), mask)
    bright = shaded[:, 0] > DARK
    assert bright[0].nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert [frame for frame in range(9) if bright[frame, 3, 3]] == [5, 6, 7, 8]
    assert not bright[1:5].any()
