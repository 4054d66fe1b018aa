"""Measuring what a finished velocity run does: how far it moves the predictions towards their targets."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.families.eraser_site import EraserSite
from t2vu_core.objectives.velocity import negative_guidance_target
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.outcome import UNKNOWN, Push
from t2vu_core.training.run import Run
from t2vu_core.training.velocity.points import TrainingPoints

MEASURED = 8
"""Number of points, one pass each with the erasers and without."""


@torch.no_grad()
def measure_push(run: Run[VelocityRecipe], points: TrainingPoints, erasers: EraserSet, sites: list[EraserSite]) -> Push | None:
    """The effect at a few points of the concept's trajectories; None if the concept changes no prediction there."""
    concept, eta = points.concept, run.recipe.eta
    rows = torch.linspace(0, len(concept) - 1, min(MEASURED, len(concept))).long()
    done, missed, way, size = 0.0, 0.0, 0.0, 0.0
    for row in rows.split(1):
        v_concept, v_without = (concept.predictions[name][row].float() for name in ("prompt", run.recipe.reference))
        wanted = negative_guidance_target(v_concept, v_without, eta) - v_concept
        with erasers.attached(sites):
            moved = _predict(run, points, row)
            with erasers.switched_off():
                moved = moved - _predict(run, points, row)
        done += float((moved * wanted).sum())
        missed += float((moved - wanted).square().sum())
        way += float(wanted.square().sum())
        size += float(v_concept.square().sum())
    if way <= (UNKNOWN * (1 + eta)) ** 2 * size:
        return None
    return Push(done / way, math.sqrt(missed / way))


def _predict(run: Run[VelocityRecipe], points: TrainingPoints, row: Tensor) -> Tensor:
    concept, family = points.concept, run.family
    condition = points.prompts.conditions["concept"][concept.prompt[row]]
    with family.mixed_precision():
        latents = concept.latents[row].to(family.device, torch.float32)
        return family.predict(latents, concept.timesteps[row].to(family.device), condition, points.size).cpu()
