"""Everything that a velocity training draws from: prompts, encoded once, and the trajectories of the frozen model."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch

from t2vu_core.erasers import EraserSet
from t2vu_core.families.base import ClipSize, Family, TextCondition
from t2vu_core.prompts.pairs import PromptPair, concept_kind
from t2vu_core.prompts.plan import PromptPlan
from t2vu_core.prompts.prompt_set import PromptSet
from t2vu_core.prompts.two_subjects import two_subject_pairs
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.progress import ProgressCallback
from t2vu_core.training.velocity.cache import TrajectoryCache, gigabytes
from t2vu_core.training.velocity.trajectories import Trajectories, trajectory_parts
from t2vu_core.training.workers import Workers

log = logging.getLogger(__name__)

Positions = list[list[int]]
Masks = Literal["none", "one", "all"]
"""Of which trajectories the masks are wanted: for the loss of all, to be looked at of one."""
NEUTRAL = {"concept": "neutral", "two_subjects": "alone"}
"""Prompts, and what they say without the concept."""
REFRESH_SEEDS = range(100_000, 400_000)
"""Where the seeds of refreshed trajectories lie behind the training's first seed."""


@dataclass(frozen=True)
class Prompts:
    """The prompts of a training, repeated to one a trajectory and encoded; by name `concept`, `two_subjects`, `preserve`."""

    conditions: dict[str, TextCondition]
    """With `empty` (once), and `neutral` and `alone`: what `concept` and `two_subjects` say without the concept."""
    positions: dict[str, Positions]
    """Where the concept's tokens are in the text, for `concept` and `two_subjects`."""


@dataclass(frozen=True)
class Points:
    """Everything a training step draws from."""

    size: ClipSize
    prompts: Prompts
    concept: Trajectories
    two_subjects: Trajectories | None
    preserve: Trajectories | None

    @property
    def num_bytes(self) -> int:
        """Memory that all trajectories take."""
        parts = (self.concept, self.two_subjects, self.preserve)
        return sum(part.num_bytes for part in parts if part is not None)


def encode_prompts(family: Family, plan: PromptPlan, prompt_set: PromptSet, recipe: VelocityRecipe) -> Prompts:
    """Encode every prompt, so that the text encoder can leave."""
    pairs = fill_up(plan.pairs, recipe.concept_trajectories)
    texts = {"empty": [""], "concept": [pair.prompt for pair in pairs], "neutral": [pair.neutral for pair in pairs]}
    both = _two_subjects(plan, prompt_set, recipe)
    if both:
        texts |= {"two_subjects": [pair.prompt for pair in both], "alone": [pair.neutral for pair in both]}
    if plan.preserve and recipe.preserves:
        texts["preserve"] = fill_up(plan.preserve, recipe.preserve_trajectories)
    positions: dict[str, Positions] = {
        name: [_said_at(family, prompt, plan.names) for prompt in texts[name]]
        for name in ("concept", "two_subjects")
        if name in texts
    }
    return Prompts({name: family.encode(prompts) for name, prompts in texts.items()}, positions)


def _two_subjects(plan: PromptPlan, prompt_set: PromptSet, recipe: VelocityRecipe) -> list[PromptPair]:
    wanted = recipe.two_subject_trajectories
    if not wanted:
        return []
    if plan.kind == "manner":
        log.warning(
            "%r is a manner, which has no second subject beside it: two_subject_trajectories has no effect.", plan.concept
        )
        return []
    things = [name for name in plan.names if concept_kind(name) == "thing"]
    pairs = two_subject_pairs(things or plan.names, prompt_set.things, plan.preserve, count=wanted, seed=recipe.seed)
    if not pairs:
        log.warning("No prompt has a second subject beside %r: two_subject_trajectories has no effect.", plan.concept)
    return fill_up(pairs, wanted) if pairs else []


def _said_at(family: Family, prompt: str, names: Sequence[str]) -> list[int]:
    """Positions of the concept's tokens, whatever name the prompt calls it."""
    return sorted({position for name in names for position in family.concept_positions(prompt, name)})


def fill_up(items: Sequence[Any], count: int) -> list[Any]:
    """Repeat the items in turn up to `count`; every repetition gets a seed of its own."""
    return [items[index % len(items)] for index in range(count)]


def trajectory_guidance(family: Family, recipe: VelocityRecipe) -> float:
    """The recipe's guidance, or the family's own: for 0, and where the model is distilled from guidance.

    A distilled model takes its guidance as an input, which `predict` gives it (HunyuanVideo), or none at all; classifier-free
    guidance on top would lead where it never samples.
    """
    defaults = family.defaults
    if defaults.embedded_guidance is not None or defaults.guidance_scale <= 1 or recipe.guidance_scale == 0:
        return defaults.guidance_scale
    return recipe.guidance_scale


def clip_size(family: Family, recipe: VelocityRecipe) -> ClipSize:
    """The clips to train on: the recipe's, or the model's own; UserError for a size that the architecture cannot make."""
    own = family.defaults.size
    size = ClipSize(recipe.num_frames or own.num_frames, recipe.height or own.height, recipe.width or own.width)
    if size != own:
        family.check_size(size)
    return size


def sample_points(
    family: Family,
    prompts: Prompts,
    recipe: VelocityRecipe,
    masks: Masks,
    cache: TrajectoryCache,
    on_progress: ProgressCallback | None,
    workers: Workers,
) -> Points:
    """Sample all trajectories of the frozen model, and look where the concept is in them, as `masks` says."""
    size, conditions = clip_size(family, recipe), prompts.conditions
    names = [name for name in ("concept", "two_subjects", "preserve") if name in conditions]
    total = sum(len(conditions[name]) for name in names)
    expected = gigabytes(expected_bytes(family, prompts, recipe, masks))
    if workers.first:
        log.info("%d trajectories of %d steps: %s %s.", total, recipe.trajectory_steps, expected, cache.place)
    if on_progress is not None:
        on_progress = _noting(on_progress, f"{expected} {cache.medium}")
    seed, done = first_seed(recipe), 0
    sampled: dict[str, Trajectories] = {}
    # Preserve prompts keep the seeds that they have without the second subjects.
    for name in sorted(names, key=("concept", "preserve", "two_subjects").index):
        count = len(conditions[name])
        positions = _watched(prompts.positions.get(name), masks)
        sample = partial(
            trajectory_parts, family, conditions[name], conditions["empty"], size,
            neutral=conditions.get(NEUTRAL.get(name, "")), positions=positions, seeds=range(seed + done, seed + done + count),
            done=done, total=total, on_progress=on_progress, workers=workers, **_route(family, recipe),
            go_neutrally=_go_neutrally(prompts.positions[name], recipe) if name == "concept" else (),
        )  # fmt: skip
        sampled[name] = cache.keep(name, sample, prompts=count, masks=len(positions or ()), workers=workers)
        done += count
    return Points(size, prompts, sampled["concept"], sampled.get("two_subjects"), sampled.get("preserve"))


def refreshed(
    points: Points,
    family: Family,
    recipe: VelocityRecipe,
    erasers: EraserSet,
    *,
    number: int,
    cache: TrajectoryCache,
    on_progress: ProgressCallback | None,
    workers: Workers,
) -> Points:
    """The concept's trajectories sampled anew on the way that the model with these erasers goes (on-policy).

    Targets stay the frozen model's. Where an erased model still shows the concept, its own way passes; the frozen
    model's need not. Those that go the neutral prompt's way still do. Every refresh has other seeds. The other
    trajectories stay as they are.
    """
    conditions = points.prompts.conditions
    count = len(conditions["concept"])
    start = first_seed(recipe) + REFRESH_SEEDS[number * count % (len(REFRESH_SEEDS) - count)]
    fitting = erasers.fit(family.sites())

    @contextlib.contextmanager
    def driver() -> Iterator[None]:
        with erasers.attached(fitting):
            yield

    positions = points.prompts.positions["concept"] if recipe.localization_weight else None
    sample = partial(
        trajectory_parts, family, conditions["concept"], conditions["empty"], points.size, neutral=conditions["neutral"],
        positions=positions, seeds=range(start, start + count), driver=driver,
        go_neutrally=_go_neutrally(points.prompts.positions["concept"], recipe), total=count, on_progress=on_progress,
        workers=workers, **_route(family, recipe),
    )  # fmt: skip
    with torch.no_grad():
        concept = cache.keep(f"concept-{number}", sample, prompts=count, masks=len(positions or ()), workers=workers)
    cache.drop(f"concept-{number - 1}")
    return dataclasses.replace(points, concept=concept)


def expected_bytes(family: Family, prompts: Prompts, recipe: VelocityRecipe, masks: Masks) -> int:
    """What the trajectories of `sample_points` will take, `Points.num_bytes`: x_t and every prediction in bf16, and masks."""
    size, conditions = clip_size(family, recipe), prompts.conditions
    steps = len(family.make_scheduler(recipe.trajectory_steps, size).timesteps)
    total = 0
    for name in ("concept", "two_subjects", "preserve"):
        if name in conditions:
            kept_a_step = 4 if name in NEUTRAL else 3
            values = len(conditions[name]) * (kept_a_step * steps + 1) * math.prod(family.latent_shape(size))
            total += 2 * values + len(_watched(prompts.positions.get(name), masks) or ()) * math.prod(family.token_grid(size))
    return total


def _noting(on_progress: ProgressCallback, note: str) -> ProgressCallback:
    return lambda done: on_progress(dataclasses.replace(done, note=note))


def _go_neutrally(positions: Positions, recipe: VelocityRecipe) -> list[bool]:
    """Which of the concept's trajectories go the neutral prompt's way; the first that spells the concept is to be looked at."""
    others = [index for index in range(len(positions)) if index != first_said(positions)]
    chosen = random.Random(recipe.seed).sample(others, min(len(others), round(recipe.neutral_share * len(positions))))
    return [index in chosen for index in range(len(positions))]


def _watched(positions: Positions | None, masks: Masks) -> Positions | None:
    if positions is None or masks == "none":
        return None
    return positions if masks == "all" else positions[: first_said(positions) + 1]


def first_said(positions: Positions) -> int:
    """The first prompt that spells the concept, else the first."""
    return next((index for index, wanted in enumerate(positions) if wanted), 0)


def first_seed(recipe: VelocityRecipe) -> int:
    """Seed of the first trajectory; the others follow."""
    return 1_000_000 * (recipe.seed + 1)


def _route(family: Family, recipe: VelocityRecipe) -> dict[str, Any]:
    return {
        "num_steps": recipe.trajectory_steps,
        "guidance_scale": trajectory_guidance(family, recipe),
        "mask_source": recipe.mask_source,
        "mask_layers": recipe.mask_layers,
    }
