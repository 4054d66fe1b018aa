"""How much of the concept the encoder still represents, measured at fixed points before, during and after a run."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from t2vu_core.families.text_condition import TextCondition
from t2vu_core.objectives.few_shot import distance, remaining
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.training.few_shot.material import Material, NoisyShots, encode_all
from t2vu_core.training.loop import step_generator
from t2vu_core.training.outcome import UNKNOWN, Push

PROBES = 12
PROBE_STEP = 2**40
"""Stands for a step in the probe's random numbers; no run has so many."""
ASCENDING = ("ascent", "ascent_trust_region")
"""Objectives without a target."""
CHECK_EVERY = 5
"""Steps between two measurements of the remaining effect."""


@dataclass(frozen=True)
class Baseline:
    """The frozen predictions at points that stay the same throughout a run, and the scales of what the concept changes."""

    points: NoisyShots
    rows: Tensor
    """Index of each point's pair."""
    concept: Tensor
    neutral: Tensor
    prediction_scale: float
    """Mean square of what the concept changes in a prediction."""
    embedding_scale: float
    """Mean square of what the concept changes in an embedding, relative to its size."""


@torch.no_grad()
def measure_baseline(material: Material, recipe: FewShotRecipe) -> Baseline:
    """Draw the fixed points and ask the frozen model there."""
    generator = step_generator(recipe.seed, PROBE_STEP)
    rows = torch.randint(0, len(material.pairs), (PROBES,), generator=generator)
    points = material.draw(rows, generator)
    concept, neutral = (material.predict(points, condition[rows]) for condition in (material.concept, material.neutral))
    return Baseline(
        points, rows, concept, neutral,
        prediction_scale=float((concept - neutral).pow(2).mean().clamp_min(1e-12)),
        embedding_scale=float(embedding_shift(material.neutral, material.concept).pow(2).mean().clamp_min(1e-8)),
    )  # fmt: skip


def embedding_shift(condition: TextCondition, frozen: TextCondition) -> Tensor:
    """How far encoded prompts are from others, (B,): their embeddings, and the pooled ones if there are any."""
    far = distance(condition.embeds_BSD, frozen.embeds_BSD, frozen.mask_BS)
    if condition.pooled_BD is None or frozen.pooled_BD is None:
        return far
    return far + distance(condition.pooled_BD[:, None], frozen.pooled_BD[:, None])


def should_stop(material: Material, baseline: Baseline, recipe: FewShotRecipe, step: int) -> bool:
    """Whether the remaining effect is at most `stop_at`; measured every few steps."""
    if step == 0 or step % CHECK_EVERY:
        return False
    return remaining_effect(material, baseline) <= recipe.stop_at


@torch.no_grad()
def remaining_effect(material: Material, baseline: Baseline) -> float:
    """The share of the concept's effect on the predictions that remains: 1 is all of it, 0 none."""
    return float(remaining(_student(material, baseline), baseline.concept, baseline.neutral))


@torch.no_grad()
def measure_push(material: Material, baseline: Baseline, recipe: FewShotRecipe) -> Push | None:
    """How far the concept's predictions moved: 1 is the distance from the concept to the neutral prompt.

    Towards the neutral prompt, or in any direction for objectives without a target. None if the frozen model predicts the
    same with the concept as without.
    """
    if baseline.prediction_scale <= UNKNOWN**2 * float(baseline.concept.pow(2).mean()):
        return None
    if recipe.objective not in ASCENDING:
        return Push(1 - remaining_effect(material, baseline))
    moved = (_student(material, baseline) - baseline.concept).pow(2).mean()
    return Push(float(moved.div(baseline.prediction_scale).sqrt()))


@torch.no_grad()
def measure(material: Material, baseline: Baseline) -> dict[str, float]:
    """The remaining effect, and how far the preserve prompts and the empty prompt moved.

    Movements are root mean squares in units of the distance from concept to neutral prompt.
    """
    moved = embedding_shift(encode_all(material.model, material.kept), material.keep)
    return {
        "remaining": round(remaining_effect(material, baseline), 4),
        "preserve_moved": round(float(moved.pow(2).mean().div(baseline.embedding_scale).sqrt()), 4),
        "empty_moved": round(float(moved[0].pow(2).div(baseline.embedding_scale).sqrt()), 4),
    }


def _student(material: Material, baseline: Baseline) -> Tensor:
    """The predictions with the concept at the fixed points, with the encoder as it is now."""
    prompts = [material.pairs[row].prompt for row in baseline.rows.tolist()]
    return material.predict(baseline.points, encode_all(material.model, prompts))
