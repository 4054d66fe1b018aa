"""The loss of one velocity training step: one forward pass of one model (T2VUnlearning, arXiv 2505.17550).

`L = L_unlearn + alpha L_loc + beta L_pre`. With several processes each one computes its share of the rows, weighted so
that the shares add up to the loss of the whole batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.objectives.velocity import guided_unlearning_loss, preservation_loss, unlearning_loss
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.loop import step_generator
from t2vu_core.training.run import Run
from t2vu_core.training.velocity.batches import Batch, Rows, draw_batch
from t2vu_core.training.velocity.localizing import OutsideMask
from t2vu_core.training.velocity.points import TrainingPoints, refreshed
from t2vu_core.training.velocity.probe_rounds import STATE, ProbeRounds
from t2vu_core.training.velocity.soft_tokens import soft_token_attack
from t2vu_core.training.workers import Workers

Loss = Callable[[Tensor, Tensor], Tensor]
"""Of predictions and their targets."""


@dataclass(frozen=True)
class Part:
    """Rows of the pass that share one loss."""

    rows: tuple[str, ...]
    """Names of row groups, in order."""
    loss: Loss
    weight: float

    def weighted_loss(self, predictions: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """The loss of these rows, with its weight."""
        student, target = (torch.cat([by_name[name] for name in self.rows]) for by_name in (predictions, targets))
        return self.loss(student, target) * self.weight


class VelocityStep:
    """Gives the loss of a step, with the erasers attached and `localizing.record` recording.

    On-policy runs and rounds of PROBE replace `points` while they train.
    """

    def __init__(self, run: Run[VelocityRecipe], points: TrainingPoints, erasers: EraserSet, localizing: OutsideMask) -> None:
        self.points = points
        self._run, self._erasers, self._localizing = run, erasers, localizing
        self._refreshes = 0
        self._rounds = ProbeRounds(run, points)

    def loss(self, step: int) -> Tensor:
        """This process's part of the loss at a step."""
        self._refresh(step)
        self._probe(step)
        recipe = self._run.recipe
        batch = draw_batch(self.points, recipe, step_generator(recipe.seed, step))
        share = _share(batch, self._run.workers)
        groups = self._row_groups(share)
        if not groups:
            # A process without rows still takes part in the sum.
            return torch.zeros((), device=self._run.family.device)
        return self._loss_of(groups, share, batch)

    def _refresh(self, step: int) -> None:
        """On-policy: sample the concept's trajectories again with the current erasers every `refresh_every` steps.

        The state keeps the erasers of the last refresh, so that a resumed run samples the same trajectories.
        """
        run, every = self._run, self._run.recipe.refresh_every
        due = step // every if every else 0
        if due <= self._refreshes:
            return
        if step % every == 0:
            learned = {name: tensor for name, tensor in run.state.extra.items() if name.startswith(STATE)}
            run.state.extra = {name: tensor.clone() for name, tensor in self._erasers.named_tensors().items()} | learned
        kept = {name: tensor for name, tensor in run.state.extra.items() if not name.startswith(STATE)}
        student = EraserSet.from_tensors(kept).eval().requires_grad_(False).to(run.family.device)
        with self._erasers.switched_off():
            self.points = refreshed(run, self.points, student, due)
        self._refreshes = due

    def _probe(self, step: int) -> None:
        """Learn tokens that bring the concept back past the current erasers, before the steps that the recipe says."""
        if not self._run.recipe.probe_rounds:
            return
        self._localizing.begin(None, torch.empty(0))
        self.points = dataclasses.replace(self.points, learned=self._rounds.until(step))

    def _row_groups(self, share: Batch) -> dict[str, Rows]:
        """The rows of the pass by name, in order; those with masks come first."""
        erase = share.erase
        groups = {"erase": erase, "paired": share.paired, "unprompted": self._unprompted(erase), "keep": share.keep}
        present = {name: rows for name, rows in groups.items() if rows is not None and len(rows)}
        if "erase" in present and erase.hardened is not None:
            self._localizing.begin(None, torch.empty(0))
            present["erase"] = dataclasses.replace(erase, condition=self._hardened(erase, erase.hardened))
        return present

    def _loss_of(self, groups: Mapping[str, Rows], share: Batch, whole: Batch) -> Tensor:
        recipe, family, rows = self._run.recipe, self._run.family, Rows.cat(list(groups.values()))
        latents, timesteps = rows.latents.to(family.device, torch.float32), rows.timesteps.to(family.device)
        self._localizing.begin(_outside(share, family.device), timesteps)
        student = self._predict(latents, timesteps, rows.condition)
        counts = [len(each) for each in groups.values()]
        target = rows.target.to(family.device, torch.float32)
        predictions, targets = (dict(zip(groups, values.split(counts), strict=True)) for values in (student, target))
        loss = student.new_zeros(())
        for part in self._parts(groups, whole):
            loss = loss + part.weighted_loss(predictions, targets)
        if recipe.localization_weight and {"erase", "paired"} & set(groups):
            masked = len(whole.erase) + (0 if whole.paired is None else len(whole.paired))
            loss = loss + recipe.localization_weight * self._localizing.loss() / masked
        return loss

    def _parts(self, groups: Mapping[str, Rows], whole: Batch) -> list[Part]:
        """What is to be erased and what is to be kept, each weighted by this process's share of its rows."""
        recipe, parts = self._run.recipe, []
        if "erase" in groups:
            share = len(groups["erase"]) / len(whole.erase)
            erasing = ("erase", "unprompted") if recipe.guided_objective else ("erase",)
            parts.append(Part(erasing, self._guided_loss if recipe.guided_objective else unlearning_loss, share))
        kept = tuple(name for name in ("paired", "keep") if name in groups)
        if kept:
            of = sum(len(rows) for rows in (whole.paired, whole.keep) if rows is not None)
            share = sum(len(groups[name]) for name in kept) / of
            parts.append(Part(kept, preservation_loss, recipe.preserve_weight * share))
        return parts

    def _guided_loss(self, student: Tensor, target: Tensor) -> Tensor:
        """For rows with the concept, followed by the same points without a prompt."""
        (v_concept, v_empty), (goal, goal_empty) = student.chunk(2), target.chunk(2)
        return guided_unlearning_loss(v_concept, v_empty, goal, goal_empty, self._run.family.defaults.guidance_scale)

    def _unprompted(self, erase: Rows) -> Rows | None:
        """The same points with the empty prompt: guidance subtracts the student's prediction there."""
        if not self._run.recipe.guided_objective:
            return None
        assert erase.empty is not None
        condition = self.points.prompts.conditions["empty"].expand(len(erase))
        return Rows(erase.latents, erase.timesteps, condition, erase.empty)

    def _hardened(self, erase: Rows, chosen: Tensor) -> TextCondition:
        """The prompts, with soft tokens against the current erasers in the chosen rows."""
        rows = chosen.nonzero().flatten()
        # A sharded denoiser computes only in all processes at once: one without such a row computes one and discards it.
        asked = rows if len(rows) or not self._run.workers.sharded else rows.new_zeros(1)
        if not len(asked):
            return erase.condition
        found = self._soft_tokens(erase, asked).embeds_BSD[: len(rows)]
        embeds = erase.condition.embeds_BSD.clone()
        embeds[rows] = found
        return dataclasses.replace(erase.condition, embeds_BSD=embeds)

    def _soft_tokens(self, erase: Rows, rows: Tensor) -> TextCondition:
        assert erase.concept is not None
        assert erase.prompt is not None
        recipe, device, positions = self._run.recipe, self._run.family.device, self.points.prompts.positions["concept"]
        latents, timesteps = erase.latents[rows].to(device, torch.float32), erase.timesteps[rows].to(device)
        return soft_token_attack(
            lambda condition: self._predict(latents, timesteps, condition),
            erase.condition[rows],
            erase.concept[rows].to(device, torch.float32),
            [positions[row] for row in erase.prompt[rows].tolist()],
            steps=recipe.adversarial_steps,
            radius=recipe.adversarial_radius,
        )

    def _predict(self, latents: Tensor, timesteps: Tensor, condition: TextCondition) -> Tensor:
        family = self._run.family
        with family.mixed_precision():
            return family.predict(latents, timesteps, condition, self.points.size)


def _share(batch: Batch, workers: Workers) -> Batch:
    if workers.count == 1:
        return batch

    def own(rows: Rows | None) -> Rows | None:
        return None if rows is None else rows[workers.rows(len(rows))]

    erase = own(batch.erase)
    assert erase is not None
    return Batch(erase, own(batch.paired), own(batch.keep))


def _outside(batch: Batch, device: torch.device) -> Tensor | None:
    """1 - M of the rows with a mask, which come first."""
    parts = [rows.outside for rows in (batch.erase, batch.paired) if rows is not None and rows.outside is not None]
    return torch.cat(parts).to(device) if parts else None
