"""Short trainings of the tiny models: a recipe of few steps, and the points that it trains on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.plan import plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.run import Run
from t2vu_core.training.velocity.encoded_prompts import encode_prompts
from t2vu_core.training.velocity.points import TrainingPoints, sample_points
from tests.core.tiny_models import TinyModel

FEW = {"concept_trajectories": 2, "preserve_trajectories": 2, "trajectory_steps": 2, "steps": 6, "rank": 4, "eta": 20.0}


def recipe(**changes: object) -> VelocityRecipe:
    """A training run of seconds; with localisation it trains bottlenecks."""
    localized = {"kind": "bottleneck"} if changes.get("localization_weight") else {}
    return VelocityRecipe.preset("quick", **{**FEW, **localized, **changes})


@contextlib.contextmanager
def small_clips(tiny: TinyModel) -> Iterator[None]:
    """The architecture's own clip size is made for a GPU: within, it is the tiny one."""
    import dataclasses

    kind = type(tiny.model.family)
    own = kind.defaults
    kind.defaults = property(lambda family: dataclasses.replace(own.fget(family), size=tiny.size))  # type: ignore[method-assign, union-attr]
    try:
        yield
    finally:
        kind.defaults = own  # type: ignore[method-assign]


def points_of(tiny: TinyModel, recipe: VelocityRecipe, concept: str = "ghost") -> TrainingPoints:
    family = tiny.model.family
    prompt_set = prompt_set_for(None)
    plan = plan_request(ConceptRequest((concept,)), prompt_set, PlanSize(recipe.concept_trajectories, 2, recipe.seed))
    prompts = encode_prompts(family, plan, prompt_set, recipe)
    with small_clips(tiny):
        return sample_points(Run(family, recipe), prompts, masks="all")
