"""What a step of few-shot encoder unlearning draws from, its loss, and how it is seen that the concept is gone.

P counts prompts, B rows of a batch, N shots with their mirror images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from t2vu_core.families.base import TextCondition
from t2vu_core.objectives.few_shot import (
    Predictions,
    distance,
    objective_loss,
    preserve_predictions,
    remaining,
    within,
)
from t2vu_core.prompts.pairs import PromptPair
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.training.few_shot.shot_models import ShotModel
from t2vu_core.training.loop import step_generator
from t2vu_core.training.noising import noised
from t2vu_core.training.velocity.effect import UNKNOWN

ENCODE_BATCH = 16
PROBES = 12
ASCENDING = ("ascent", "ascent_trust_region")
CHECK_EVERY = 5
"""Steps between two looks at what the encoder says."""


@dataclass(frozen=True)
class Points:
    """Where the denoiser is asked: (B, ...), with what it was once trained to say there."""

    latents: Tensor
    timesteps: Tensor
    true: Tensor


@dataclass(frozen=True)
class Material:
    """Everything that a step draws from; the conditions are those of the frozen encoder."""

    model: ShotModel
    latents: Tensor
    own: Tensor
    """Which of the latents a pair's prompt is noised from, bool (P, N): those that show its concept."""
    pairs: tuple[PromptPair, ...]
    kept: tuple[str, ...]
    """Prompts that must keep working, the empty one first."""
    concept: TextCondition
    neutral: TextCondition
    keep: TextCondition
    scheduler: Any
    probe: Points
    probe_rows: Tensor
    probe_concept: Tensor
    probe_neutral: Tensor
    prediction_scale: float
    """Mean square of what the concept changes in a prediction."""
    embedding_scale: float
    """Mean square of what the concept changes in an embedding, as a share of its size."""


@torch.no_grad()
def collect(
    model: ShotModel,
    shots: Tensor,
    pairs: Sequence[PromptPair],
    preserve: Sequence[str],
    recipe: FewShotRecipe,
    own: Tensor | None = None,
) -> Material:
    """Encode shots, their mirror images and all prompts once; ask the frozen model at the fixed points.

    `own` says which of the shots show what a pair says, bool (P, shots); all, where it is not given.
    """
    latents = torch.cat([model.latents_of(shots), model.latents_of(shots.flip(-1))]).float().cpu()
    own = torch.ones(len(pairs), len(shots), dtype=torch.bool) if own is None else own
    own = torch.cat([own, own], dim=1)
    neutrals = [pair.neutral if recipe.reference == "neutral" else "" for pair in pairs]
    kept = tuple(dict.fromkeys(["", *preserve, *(pair.neutral for pair in pairs)]))
    concept, neutral, keep = (encode_all(model, texts) for texts in ([pair.prompt for pair in pairs], neutrals, kept))
    scheduler, generator = model.scheduler(), step_generator(recipe.seed, 2**40)
    rows = torch.randint(0, len(pairs), (PROBES,), generator=generator)
    probe = _points(model, latents, scheduler, own[rows], generator)
    said, unsaid = (_predict(model, probe, condition[rows]) for condition in (concept, neutral))
    return Material(
        model, latents, own, tuple(pairs), kept, concept, neutral, keep, scheduler, probe, rows, said, unsaid,
        prediction_scale=float((said - unsaid).pow(2).mean().clamp_min(1e-12)),
        embedding_scale=float(moved(neutral, concept).pow(2).mean().clamp_min(1e-8)),
    )  # fmt: skip


def encode_all(model: ShotModel, prompts: Sequence[str]) -> TextCondition:
    """Many prompts, a few at a time."""
    return TextCondition.cat(
        [model.encode(prompts[first : first + ENCODE_BATCH]) for first in range(0, len(prompts), ENCODE_BATCH)]
    )


def moved(condition: TextCondition, frozen: TextCondition) -> Tensor:
    """How far encoded prompts are from others, (B,): embeddings, and the pooled one where there is one."""
    far = distance(condition.embeds_BSD, frozen.embeds_BSD, frozen.mask_BS)
    if condition.pooled_BD is None or frozen.pooled_BD is None:
        return far
    return far + distance(condition.pooled_BD[:, None], frozen.pooled_BD[:, None])


def few_shot_loss(material: Material, recipe: FewShotRecipe, step: int) -> Tensor:
    """The objective at noisy shots with concept prompts, and what preserve prompts must keep."""
    generator = step_generator(recipe.seed, step)
    rows = torch.randint(0, len(material.pairs), (recipe.batch,), generator=generator)
    points = _points(material.model, material.latents, material.scheduler, material.own[rows], generator)
    keep_rows = _keep_rows(material, recipe.preserve_batch, generator)
    prompts = [material.pairs[row].prompt for row in rows.tolist()] + [material.kept[row] for row in keep_rows.tolist()]
    encoded = material.model.encode(prompts)
    student, kept = encoded[: recipe.batch], encoded[recipe.batch :]
    loss = _objective(material, recipe, points, student, rows)
    if len(keep_rows) and recipe.preserve_weight:
        drift = moved(kept, material.keep[keep_rows]).pow(2).mean() / material.embedding_scale
        loss = loss + recipe.preserve_weight * drift
    if len(keep_rows) and recipe.preserve_prediction_weight:
        drift = _prediction_drift(material, points, kept, keep_rows) / material.prediction_scale
        loss = loss + recipe.preserve_prediction_weight * drift
    return loss


def has_said_enough(material: Material, recipe: FewShotRecipe, step: int) -> bool:
    """Whether the denoiser hears no more of the concept than `stop_at`; asked every few steps."""
    if step == 0 or step % CHECK_EVERY:
        return False
    return measure_remaining(material) <= recipe.stop_at


@torch.no_grad()
def measure_remaining(material: Material) -> float:
    """The share of the concept that the denoiser still hears, at points that stay the same throughout a training."""
    return float(remaining(_heard(material), material.probe_concept, material.probe_neutral))


@torch.no_grad()
def pushed(material: Material, recipe: FewShotRecipe) -> float | None:
    """How far the concept's predictions went: 1 is as far as from the concept to the neutral prompt.

    Towards the neutral prompt, or anywhere for objectives that have no target. None where the frozen model predicts the
    same with the concept as without.
    """
    if material.prediction_scale <= UNKNOWN**2 * float(material.probe_concept.pow(2).mean()):
        return None
    if recipe.objective not in ASCENDING:
        return 1 - measure_remaining(material)
    return float((_heard(material) - material.probe_concept).pow(2).mean().div(material.prediction_scale).sqrt())


def _heard(material: Material) -> Tensor:
    """The predictions for the concept at the fixed points, as the encoder is now."""
    prompts = [material.pairs[row].prompt for row in material.probe_rows.tolist()]
    return _predict(material.model, material.probe, encode_all(material.model, prompts))


@torch.no_grad()
def measure(material: Material) -> dict[str, float]:
    """What the encoder does now: the concept's share that is left, and how far preserve prompts and the empty one moved.

    Movements are root mean squares in units of the way from concept to neutral prompt.
    """
    away = moved(encode_all(material.model, material.kept), material.keep)
    return {
        "remaining": round(measure_remaining(material), 4),
        "preserve_moved": round(float(away.pow(2).mean().div(material.embedding_scale).sqrt()), 4),
        "empty_moved": round(float(away[0].pow(2).div(material.embedding_scale).sqrt()), 4),
    }


def _objective(material: Material, recipe: FewShotRecipe, points: Points, student: TextCondition, rows: Tensor) -> Tensor:
    frozen = material.concept[rows]
    away = moved(student, frozen)
    heard = student
    if recipe.objective == "ascent_trust_region":
        within_reach = within(student.embeds_BSD, frozen.embeds_BSD, away, recipe.trust_radius)
        heard = dataclasses.replace(student, embeds_BSD=within_reach)
    ascending = recipe.objective in ASCENDING
    said, unsaid = points.true, points.true
    if not ascending:
        with torch.no_grad():
            both = TextCondition.cat([frozen, material.neutral[rows]])
            said, unsaid = _predict(material.model, _twice(points), both).chunk(2)
    seen = Predictions(_predict(material.model, points, heard), said, unsaid, points.true, away)
    loss = objective_loss(recipe.objective, seen, eta=recipe.eta, radius=recipe.trust_radius)
    return loss if ascending else loss / material.prediction_scale


def _prediction_drift(material: Material, points: Points, kept: TextCondition, keep_rows: Tensor) -> Tensor:
    count = min(len(points.latents), len(keep_rows))
    rows = slice(0, count)
    some = Points(points.latents[rows], points.timesteps[rows], points.true[rows])
    with torch.no_grad():
        frozen = _predict(material.model, some, material.keep[keep_rows[rows]])
    return preserve_predictions(_predict(material.model, some, kept[rows]), frozen)


def _keep_rows(material: Material, count: int, generator: torch.Generator) -> Tensor:
    """The empty prompt always, since guidance uses it in every step, and others by chance."""
    others = torch.randint(0, len(material.kept), (count,), generator=generator)
    others[:1] = 0
    return others


def _points(model: ShotModel, latents: Tensor, scheduler: Any, own: Tensor, generator: torch.Generator) -> Points:
    """A random shot for each row of `own`, bool (B, N), with random noise at a random place of the way."""
    clean = latents[torch.multinomial(own.float(), 1, generator=generator)[:, 0]]
    place = torch.randint(0, len(scheduler.timesteps), (len(own),), generator=generator)
    eps = torch.randn(clean.shape, generator=generator)
    noisy, true = noised(scheduler, clean, eps, place)
    timesteps = scheduler.timesteps.cpu()[place]
    return Points(noisy.to(model.device), timesteps.to(model.device), true.to(model.device))


def _twice(points: Points) -> Points:
    return Points(*(torch.cat([part] * 2) for part in (points.latents, points.timesteps, points.true)))


def _predict(model: ShotModel, points: Points, condition: TextCondition) -> Tensor:
    with torch.autocast(model.device.type, torch.bfloat16):
        return model.predict(points.latents, points.timesteps, condition)
