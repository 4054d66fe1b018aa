"""The loss of one few-shot training step: the objective at noisy shots, and what preserve prompts must keep.

B counts the rows of a batch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from t2vu_core.families.text_condition import TextCondition
from t2vu_core.objectives.few_shot import Predictions, objective_loss, preserve_predictions, within
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.training.few_shot.material import Material, NoisyShots
from t2vu_core.training.few_shot.measure import ASCENDING, Baseline, embedding_shift
from t2vu_core.training.loop import step_generator


@dataclass(frozen=True)
class EncoderStep:
    """Gives the loss of a step, with the trained change attached to the encoder."""

    material: Material
    baseline: Baseline
    recipe: FewShotRecipe

    def loss(self, step: int) -> Tensor:
        """The objective with concept prompts, and the weighted drift of preserve prompts."""
        material, baseline, recipe = self.material, self.baseline, self.recipe
        generator = step_generator(recipe.seed, step)
        rows = torch.randint(0, len(material.pairs), (recipe.batch,), generator=generator)
        points = material.draw(rows, generator)
        keep_rows = self._keep_rows(generator)
        prompts = [material.pairs[row].prompt for row in rows.tolist()] + [material.kept[row] for row in keep_rows.tolist()]
        encoded = material.model.encode(prompts)
        student, kept = encoded[: recipe.batch], encoded[recipe.batch :]
        loss = self._objective(points, student, rows)
        if len(keep_rows) and recipe.preserve_weight:
            drift = embedding_shift(kept, material.keep[keep_rows]).pow(2).mean() / baseline.embedding_scale
            loss = loss + recipe.preserve_weight * drift
        if len(keep_rows) and recipe.preserve_prediction_weight:
            drift = self._prediction_drift(points, kept, keep_rows) / baseline.prediction_scale
            loss = loss + recipe.preserve_prediction_weight * drift
        return loss

    def _objective(self, points: NoisyShots, student: TextCondition, rows: Tensor) -> Tensor:
        material, recipe, frozen = self.material, self.recipe, self.material.concept[rows]
        shift = embedding_shift(student, frozen)
        asked = student
        if recipe.objective == "ascent_trust_region":
            within_radius = within(student.embeds_BSD, frozen.embeds_BSD, shift, recipe.trust_radius)
            asked = dataclasses.replace(student, embeds_BSD=within_radius)
        ascending = recipe.objective in ASCENDING
        v_concept, v_neutral = points.true, points.true
        if not ascending:
            with torch.no_grad():
                both = TextCondition.cat([frozen, material.neutral[rows]])
                v_concept, v_neutral = material.predict(points.twice(), both).chunk(2)
        predictions = Predictions(material.predict(points, asked), v_concept, v_neutral, points.true, shift)
        loss = objective_loss(recipe.objective, predictions, eta=recipe.eta, radius=recipe.trust_radius)
        return loss if ascending else loss / self.baseline.prediction_scale

    def _prediction_drift(self, points: NoisyShots, kept: TextCondition, keep_rows: Tensor) -> Tensor:
        """How much predictions with preserve prompts changed."""
        rows = slice(0, min(len(points), len(keep_rows)))
        with torch.no_grad():
            frozen = self.material.predict(points[rows], self.material.keep[keep_rows[rows]])
        return preserve_predictions(self.material.predict(points[rows], kept[rows]), frozen)

    def _keep_rows(self, generator: torch.Generator) -> Tensor:
        """Always the empty prompt, since guidance uses it in every step, and others at random."""
        drawn = torch.randint(0, len(self.material.kept), (self.recipe.preserve_batch,), generator=generator)
        drawn[:1] = 0
        return drawn
