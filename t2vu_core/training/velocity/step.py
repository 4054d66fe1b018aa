"""The loss of one step of velocity erasing: one forward pass of one model (T2VUnlearning, arXiv 2505.17550).

`L = L_unlearn + alpha L_loc + beta L_pre`. With several workers each one computes its share of the rows, so
weighted that the shares add up to the loss of the whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.families.base import Family, TextCondition
from t2vu_core.objectives.velocity import guided_unlearning_loss, preservation_loss, unlearning_loss
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.checkpoint import Checkpoint
from t2vu_core.training.loop import step_generator
from t2vu_core.training.progress import ProgressCallback
from t2vu_core.training.velocity.batches import Batch, Rows, draw_batch
from t2vu_core.training.velocity.cache import TrajectoryCache
from t2vu_core.training.velocity.localizing import OutsideMask
from t2vu_core.training.velocity.points import Points, refreshed
from t2vu_core.training.velocity.soft_tokens import attack
from t2vu_core.training.workers import Workers


@dataclass
class VelocityStep:
    """Gives the loss of a step, with the erasers attached and `localizing.record` recording."""

    family: Family
    points: Points
    recipe: VelocityRecipe
    erasers: EraserSet
    localizing: OutsideMask
    checkpoint: Checkpoint | None = None
    on_progress: ProgressCallback | None = None
    workers: Workers = field(default_factory=Workers)
    cache: TrajectoryCache = field(default_factory=TrajectoryCache)
    _refreshes: int = 0

    def loss(self, step: int) -> Tensor:
        """This worker's part of the loss at a step."""
        self._refresh(step)
        batch = draw_batch(self.points, self.recipe, step_generator(self.recipe.seed, step))
        share = _share(batch, self.workers)
        loss = self._student_loss(share, batch)
        # A worker without rows still takes part in the sum.
        return torch.zeros((), device=self.family.device) if loss is None else loss

    def _refresh(self, step: int) -> None:
        """On-policy: every so often the concept's trajectories are those of the model with the present erasers.

        The checkpoint keeps the erasers of the last refresh: a resumed training samples the same trajectories again.
        """
        every = self.recipe.refresh_every
        due = step // every if every else 0
        if due <= self._refreshes:
            return
        if step % every == 0 or self.checkpoint is None:
            tensors = {name: tensor.clone() for name, tensor in self.erasers.named_tensors().items()}
        else:
            tensors = dict(self.checkpoint.extra)
        if self.checkpoint is not None:
            self.checkpoint.extra.update(tensors)
        student = EraserSet.from_tensors(tensors).eval().requires_grad_(False).to(self.family.device)
        with self.erasers.switched_off():
            self.points = refreshed(
                self.points, self.family, self.recipe, student, number=due, cache=self.cache, on_progress=self.on_progress,
                workers=self.workers,
            )  # fmt: skip
        self._refreshes = due

    def _student_loss(self, share: Batch, whole: Batch) -> Tensor | None:
        family, recipe, erase = self.family, self.recipe, share.erase
        parts = [part for part in (erase, share.beside, self._unprompted(erase), share.keep) if part is not None and len(part)]
        if not parts:
            return None
        self.localizing.begin(None, torch.empty(0))
        condition = self._harden(erase) if recipe.adversarial_steps and len(erase) else erase.condition
        asked = Rows.cat(parts)
        asked_with = TextCondition.cat([condition, asked.condition[len(erase) :]]) if len(asked) > len(erase) else condition
        latents, timesteps = asked.latents.to(family.device, torch.float32), asked.timesteps.to(family.device)
        self.localizing.begin(_outside(share, family.device), timesteps)
        with torch.autocast(family.device.type, torch.bfloat16):
            student = family.predict(latents, timesteps, asked_with, self.points.size)
        target = asked.target.to(family.device, torch.float32)
        return self._weigh(share, whole, student, target)

    def _weigh(self, share: Batch, whole: Batch, student: Tensor, target: Tensor) -> Tensor:
        recipe, erase = self.recipe, share.erase
        count, beside = len(erase), 0 if share.beside is None else len(share.beside)
        unprompted = count if recipe.guided_objective else 0
        first_kept = count + beside + unprompted
        loss = student.new_zeros(())
        if count:
            loss = loss + self._erasing(student, target, erase, count + beside) * (count / len(whole.erase))
        kept = torch.cat([student[count : count + beside], student[first_kept:]])
        if len(kept):
            wanted = torch.cat([target[count : count + beside], target[first_kept:]])
            of = sum(len(rows) for rows in (whole.beside, whole.keep) if rows is not None)
            loss = loss + recipe.preserve_weight * preservation_loss(kept, wanted) * (len(kept) / of)
        if recipe.localization_weight and count + beside:
            rows = len(whole.erase) + (0 if whole.beside is None else len(whole.beside))
            loss = loss + recipe.localization_weight * self.localizing.loss() / rows
        return loss

    def _erasing(self, student: Tensor, target: Tensor, erase: Rows, first_unprompted: int) -> Tensor:
        count = len(erase)
        if not self.recipe.guided_objective:
            return unlearning_loss(student[:count], target[:count])
        unprompted = slice(first_unprompted, first_unprompted + count)
        guidance_scale = self.family.defaults.guidance_scale
        return guided_unlearning_loss(student[:count], student[unprompted], target[:count], target[unprompted], guidance_scale)

    def _unprompted(self, erase: Rows) -> Rows | None:
        """The same points without a prompt: guidance takes the student's answer there away."""
        if not self.recipe.guided_objective:
            return None
        assert erase.empty is not None
        condition = self.points.prompts.conditions["empty"].expand(len(erase))
        return Rows(erase.latents, erase.timesteps, condition, erase.empty)

    def _harden(self, erase: Rows) -> TextCondition:
        """The prompts with soft tokens against the present erasers in the first half of the rows; the rest stays."""
        half = erase[: -(-len(erase) // 2)]
        assert half.concept is not None
        assert half.prompt is not None
        device = self.family.device
        positions = self.points.prompts.positions["concept"]
        attacked = attack(
            self.family, half.latents.to(device, torch.float32), half.timesteps.to(device), half.condition,
            half.concept.to(device, torch.float32), [positions[row] for row in half.prompt.tolist()], self.points.size,
            steps=self.recipe.adversarial_steps, radius=self.recipe.adversarial_radius,
        )  # fmt: skip
        rest = erase.condition[slice(len(half), None)]
        return TextCondition.cat([attacked, rest]) if len(rest) else attacked


def _share(batch: Batch, workers: Workers) -> Batch:
    if workers.count == 1:
        return batch

    def own(rows: Rows | None) -> Rows | None:
        return None if rows is None else rows[workers.rows(len(rows))]

    erase = own(batch.erase)
    assert erase is not None
    return Batch(erase, own(batch.beside), own(batch.keep))


def _outside(batch: Batch, device: torch.device) -> Tensor | None:
    """1 - M of the rows that come first."""
    parts = [rows.outside for rows in (batch.erase, batch.beside) if rows is not None and rows.outside is not None]
    return torch.cat(parts).to(device) if parts else None
