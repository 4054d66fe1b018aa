"""Drawing the batch of a velocity training step: inputs for the student, and its targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from t2vu_core.families.text_condition import TextCondition
from t2vu_core.objectives.localization import outside_mask
from t2vu_core.objectives.velocity import negative_guidance_target
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.velocity.aligned import mixed
from t2vu_core.training.velocity.gapped_prompts import LearnedPrompts
from t2vu_core.training.velocity.points import TrainingPoints
from t2vu_core.training.velocity.trajectories import Trajectories


@dataclass(frozen=True)
class Rows:
    """Some rows of a batch: the student's inputs and the target of its prediction."""

    latents: Tensor
    timesteps: Tensor
    condition: TextCondition
    target: Tensor
    concept: Tensor | None = None
    """The frozen prediction with the concept, for rows with the concept."""
    empty: Tensor | None = None
    """The frozen prediction without a prompt."""
    outside: Tensor | None = None
    """1 - M, (R, N), if the recipe localises."""
    prompt: Tensor | None = None
    """Index of each row's concept prompt."""
    hardened: Tensor | None = None
    """Which rows get adversarial soft tokens, bool (R,); None if the recipe trains none."""

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, rows: slice) -> Rows:
        fields: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        part: dict[str, Any] = {name: None if value is None else value[rows] for name, value in fields.items()}
        return Rows(**part)

    @staticmethod
    def cat(parts: list[Rows]) -> Rows:
        """All rows in order, without the fields that only rows with the concept have."""
        return Rows(
            torch.cat([part.latents for part in parts]),
            torch.cat([part.timesteps for part in parts]),
            TextCondition.cat([part.condition for part in parts]),
            torch.cat([part.target for part in parts]),
        )


@dataclass(frozen=True)
class Batch:
    """The rows of a step: `erase` with the concept, `paired` with it and a second subject, `keep` without it."""

    erase: Rows
    paired: Rows | None
    keep: Rows | None


def draw_batch(points: TrainingPoints, recipe: VelocityRecipe, generator: torch.Generator) -> Batch:
    """Draw the points of a step; the same generator state draws the same.

    Everything random is drawn here, before several processes share the rows, so that their number changes nothing.
    """
    erase = _erase(points, recipe, generator)
    keep = _keep(points, recipe, generator) if recipe.preserves else []
    paired = _paired(points, recipe, generator)
    learned = torch.zeros(len(erase), dtype=torch.bool)
    if points.learned:
        learned = _half(len(erase), generator)
        erase = dataclasses.replace(erase, condition=_with_learned(points.learned, erase, learned, generator))
    if recipe.adversarial_steps:
        erase = dataclasses.replace(erase, hardened=_half(len(erase), generator) & ~learned)
    return Batch(erase, paired, Rows.cat(keep) if keep else None)


def _half(count: int, generator: torch.Generator) -> Tensor:
    """Half of the rows, bool (R,). Rows are mixed from the first on, so these are both whole and mixed rows."""
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[torch.randperm(count, generator=generator)[: _count_of(count, 0.5, generator)]] = True
    return chosen


def _with_learned(found: Sequence[LearnedPrompts], erase: Rows, chosen: Tensor, generator: torch.Generator) -> TextCondition:
    """The prompts; those of the chosen rows with the tokens of a round of their concept, drawn at random, if it had one."""
    assert erase.prompt is not None
    rows = [erase.condition[row : row + 1] for row in range(len(erase))]
    for row in chosen.nonzero().flatten().tolist():
        prompt = int(erase.prompt[row])
        fitting = [learned for learned in found if prompt in learned.rows]
        if fitting:
            learned = fitting[int(torch.randint(0, len(fitting), (1,), generator=generator))]
            place = learned.rows[prompt]
            rows[row] = learned.condition[place : place + 1].to(erase.condition.embeds_BSD.device)
    return TextCondition.cat(rows)


def _count_of(rows: int, share: float, generator: torch.Generator) -> int:
    """That share of so many rows; the fraction of a row is drawn, so that one row has its share of the steps."""
    exact = rows * share
    return int(exact) if exact.is_integer() else int(exact + float(torch.rand(1, generator=generator)))


def _erase(points: TrainingPoints, recipe: VelocityRecipe, generator: torch.Generator) -> Rows:
    concept = points.concept
    rows = concept.draw(recipe.concept_batch, recipe.timestep_sampling, generator)
    v_concept, v_without = (concept.predictions[name][rows].float() for name in ("prompt", recipe.reference))
    prompt = concept.prompt[rows]
    return Rows(
        concept.latents[rows],
        concept.timesteps[rows],
        _mixed(points.prompts.conditions, prompt, recipe.mixed_share, generator),
        negative_guidance_target(v_concept, v_without, recipe.eta),
        v_concept,
        concept.predictions["empty"][rows].float(),
        _outside(concept, rows, recipe),
        prompt,
    )


def _mixed(conditions: Mapping[str, TextCondition], prompt: Tensor, share: float, generator: torch.Generator) -> TextCondition:
    """The concept's prompts; in a share of the rows tokens are replaced by the neutral prompt's, with a random rate per row.

    Attacks look for prompts in which the concept's tokens are partly replaced, so those are trained too. After CutMix
    (arXiv 1905.04899), with tokens instead of patches. Tokens that both prompts have are exchanged with each other.
    """
    concept = conditions["concept"][prompt]
    rows = _count_of(len(prompt), share, generator)
    if not rows:
        return concept
    odds_B1 = torch.rand(len(prompt), 1, generator=generator)
    odds_B1[rows:] = 1.0
    return mixed(concept, conditions["aligned"][prompt], odds_B1, generator)


def _paired(points: TrainingPoints, recipe: VelocityRecipe, generator: torch.Generator) -> Rows | None:
    """A quarter of the preserve batch: the prompt names both subjects, the target shows the second one alone."""
    both = points.two_subjects
    if both is None:
        return None
    rows = both.draw(max(1, recipe.preserve_batch // 4), recipe.timestep_sampling, generator)
    return Rows(
        both.latents[rows],
        both.timesteps[rows],
        points.prompts.conditions["two_subjects"][both.prompt[rows]],
        both.predictions["neutral"][rows].float(),
        outside=_outside(both, rows, recipe),
    )


def _outside(trajectories: Trajectories, rows: Tensor, recipe: VelocityRecipe) -> Tensor | None:
    if recipe.localization_weight == 0:
        return None
    return outside_mask(trajectories.mask_of(rows), recipe.mask_threshold)


def _keep(points: TrainingPoints, recipe: VelocityRecipe, generator: torch.Generator) -> list[Rows]:
    """Half with preserve prompts, a quarter with neutral prompts at concept points, a quarter with the empty prompt.

    Half of the preserve prompts show neighbours of the concept, where the plan tells them apart.
    """
    conditions, near = points.prompts.conditions, points.prompts.near

    def draw(
        trajectories: Trajectories, prediction: str, count: int, with_prompts: TextCondition | None, of: Tensor | None = None
    ) -> list[Rows]:
        if not count:
            return []
        rows = trajectories.draw(count, recipe.timestep_sampling, generator, prompts=of)
        condition = conditions["empty"].expand(count) if with_prompts is None else with_prompts[trajectories.prompt[rows]]
        target = trajectories.predictions[prediction][rows].float()
        return [Rows(trajectories.latents[rows], trajectories.timesteps[rows], condition, target)]

    neutral, empty, preserve = _kept_counts(recipe.preserve_batch, generator)
    source = points.preserve or points.concept
    starts = _redirected_count(neutral, recipe.clip_start_share, generator) if points.clip_starts else 0
    parts = [*draw(points.concept, "neutral", neutral - starts, conditions["neutral"]), *draw(source, "empty", empty, None)]
    parts += _clip_starts(points, starts, generator)
    if points.preserve is not None:
        shares = [(preserve, None)] if near is None else [(preserve - preserve // 2, near), (preserve // 2, ~near)]
        for count, some in shares:
            parts += draw(points.preserve, "prompt", count, conditions["preserve"], some)
    return parts


def _redirected_count(neutral: int, share: float, generator: torch.Generator) -> int:
    """How many of the rows with neutral prompts start from a clip: the share of them, its fraction drawn at random."""
    return int(neutral * share + float(torch.rand(1, generator=generator)))


def _clip_starts(points: TrainingPoints, count: int, generator: torch.Generator) -> list[Rows]:
    """Noised clips of the concept with their neutral prompts, and what leads from there to the clips without it."""
    if not count:
        return []
    assert points.clip_starts is not None
    latents, timesteps, target, prompt = points.clip_starts.draw(count, generator)
    return [Rows(latents, timesteps, points.prompts.conditions["neutral"][prompt], target)]


def _kept_counts(batch: int, generator: torch.Generator) -> tuple[int, int, int]:
    """Rows with neutral, empty and preserve prompts; the remainder of a division by four is drawn at random."""
    quarter, rest = divmod(batch, 4)
    lots = torch.randint(0, 4, (rest,), generator=generator).tolist() if rest else []
    return quarter + lots.count(0), quarter + lots.count(1), 2 * quarter + sum(lot > 1 for lot in lots)
