"""Everything that a velocity training step draws from: encoded prompts and the trajectories of the frozen model."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from t2vu_core.erasers import EraserSet
from t2vu_core.families.base import Family
from t2vu_core.families.clip_size import ClipSize
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.progress import TrainProgress
from t2vu_core.training.run import Run
from t2vu_core.training.velocity.cache import gigabytes
from t2vu_core.training.velocity.clip_starts import ClipStarts
from t2vu_core.training.velocity.encoded_prompts import NEUTRAL_OF, EncodedPrompts, Positions, first_named
from t2vu_core.training.velocity.gapped_prompts import LearnedPrompts
from t2vu_core.training.velocity.own_schedule import trajectory_guidance, trajectory_steps
from t2vu_core.training.velocity.rollout import Driver, OnClips, Route, TrajectoryPrompts, batches_of, trajectory_parts
from t2vu_core.training.velocity.trajectories import Trajectories

log = logging.getLogger(__name__)

Masks = Literal["none", "one", "all"]
"""Which trajectories get a mask: all for the localisation loss, one to be looked at."""
SAMPLED = ("concept", "preserve", "two_subjects")
"""In the order of their seeds: preserve prompts have the same ones with and without second subjects."""
REFRESH_SEEDS = range(100_000, 400_000)
"""Seeds of refreshed trajectories, counted from the run's first seed."""


@dataclass(frozen=True)
class TrainingPoints:
    """Everything that a training step draws from."""

    size: ClipSize
    prompts: EncodedPrompts
    concept: Trajectories
    two_subjects: Trajectories | None
    preserve: Trajectories | None
    clip_starts: ClipStarts | None = None
    learned: tuple[LearnedPrompts, ...] = ()
    """The concept's prompts with the tokens of each round of PROBE so far."""

    @property
    def num_bytes(self) -> int:
        """Size of all trajectories."""
        parts = (self.concept, self.two_subjects, self.preserve)
        return sum(part.num_bytes for part in parts if part is not None)


def clip_size(family: Family, recipe: VelocityRecipe) -> ClipSize:
    """The size of the clips to train on: the recipe's, or the model's own. Raises UserError if the model cannot make it."""
    own = family.defaults.size
    size = ClipSize(recipe.num_frames or own.num_frames, recipe.height or own.height, recipe.width or own.width)
    if size != own:
        family.check_size(size)
    return size


def sample_points(run: Run[VelocityRecipe], prompts: EncodedPrompts, masks: Masks) -> TrainingPoints:
    """Sample all trajectories of the frozen model, and look where the concept is in them, as `masks` says."""
    family, recipe, conditions = run.family, run.recipe, prompts.conditions
    total = sum(len(conditions[name]) for name in SAMPLED if name in conditions) + len(_started(prompts, recipe))
    expected = gigabytes(expected_bytes(family, prompts, recipe, masks))
    if run.workers.first:
        log.info("%d trajectories of %d steps: %s %s.", total, trajectory_steps(family, recipe), expected, run.cache.place)
    sampled: dict[str, Trajectories] = {}
    route, done = _route(family, recipe), 0
    for name in SAMPLED:
        if name in conditions:
            asked = _asked(prompts, name, recipe, first_seed(recipe) + done)
            asked = dataclasses.replace(asked, positions=_masked(prompts.positions.get(name), masks))
            on_clips = _reporter(run, done, total, f"{expected} {run.cache.medium}")
            sampled[name] = _kept(run, name, asked, route, on_clips)
            done += len(asked)
    starts = _clip_starts(run, prompts, route, sampled["concept"], _reporter(run, done, total, ""))
    both, preserve = sampled.get("two_subjects"), sampled.get("preserve")
    return TrainingPoints(route.size, prompts, sampled["concept"], both, preserve, starts)


def _started(prompts: EncodedPrompts, recipe: VelocityRecipe) -> list[int]:
    """The concept's trajectories whose clips are starts."""
    return with_concept(prompts, recipe) if recipe.clip_start_share and recipe.preserves else []


def with_concept(prompts: EncodedPrompts, recipe: VelocityRecipe) -> list[int]:
    """The concept's trajectories whose clips show it: those that follow their own prompt, if it names the concept."""
    positions = prompts.positions["concept"]
    neutral = _neutral_way(positions, recipe)
    return [index for index, named in enumerate(positions) if named and not neutral[index]]


def _clip_starts(
    run: Run[VelocityRecipe], prompts: EncodedPrompts, route: Route, concept: Trajectories, on_clips: OnClips
) -> ClipStarts | None:
    """The concept's clips, and what the neutral prompts draw from the same noise."""
    family, recipe, rows = run.family, run.recipe, _started(prompts, run.recipe)
    if not rows:
        return None
    conditions, first, name = prompts.conditions, first_seed(recipe), "clip_starts"
    asked = TrajectoryPrompts(conditions["neutral"][rows], conditions["empty"], [first + row for row in rows])
    instead = _kept(run, name, asked, route, on_clips).ends
    indices = torch.tensor(rows)
    clean, instead = concept.ends[indices].clone(), instead[torch.arange(len(rows))].clone()
    run.cache.drop(name)
    return ClipStarts(clean, instead, indices, family.make_scheduler(route.num_steps, route.size))


def refreshed(run: Run[VelocityRecipe], points: TrainingPoints, erasers: EraserSet, number: int) -> TrainingPoints:
    """The points with new concept trajectories that follow the model with these erasers (on-policy).

    Targets stay the frozen model's. If an erased model still shows the concept, its own trajectories pass there; the
    frozen model's may not. Trajectories that follow their neutral prompt still do. Refresh `number` has its own seeds.
    """
    family, recipe = run.family, run.recipe
    count = len(points.prompts.conditions["concept"])
    start = first_seed(recipe) + REFRESH_SEEDS[number * count % (len(REFRESH_SEEDS) - count)]
    asked = _asked(points.prompts, "concept", recipe, start)
    positions = points.prompts.positions["concept"] if recipe.localization_weight else None
    asked = dataclasses.replace(asked, positions=positions)
    route = dataclasses.replace(_route(family, recipe), size=points.size, driver=_driver(family, erasers))
    with torch.no_grad():
        concept = _kept(run, f"concept-{number}", asked, route, _reporter(run, 0, count, ""))
    run.cache.drop(f"concept-{number - 1}")
    return dataclasses.replace(points, concept=concept)


def expected_bytes(family: Family, prompts: EncodedPrompts, recipe: VelocityRecipe, masks: Masks) -> int:
    """What `TrainingPoints.num_bytes` will be: x_t and every prediction in bf16, and the masks."""
    size, conditions = clip_size(family, recipe), prompts.conditions
    steps = len(family.make_scheduler(trajectory_steps(family, recipe), size).timesteps)
    total = 0
    for name in SAMPLED:
        if name in conditions:
            kept_a_step = 4 if name in NEUTRAL_OF else 3
            values = len(conditions[name]) * (kept_a_step * steps + 1) * math.prod(family.latent_shape(size))
            total += 2 * values + len(_masked(prompts.positions.get(name), masks) or ()) * math.prod(family.token_grid(size))
    return total


def first_seed(recipe: VelocityRecipe) -> int:
    """Seed of the first trajectory; the others follow."""
    return 1_000_000 * (recipe.seed + 1)


def _asked(prompts: EncodedPrompts, name: str, recipe: VelocityRecipe, seed: int) -> TrajectoryPrompts:
    """The prompts of that name to sample, with seeds from `seed` on, without masks."""
    conditions = prompts.conditions
    return TrajectoryPrompts(
        conditions[name],
        conditions["empty"],
        range(seed, seed + len(conditions[name])),
        neutral=conditions.get(NEUTRAL_OF.get(name, "")),
        neutral_way=_neutral_way(prompts.positions[name], recipe) if name in NEUTRAL_OF else (),
    )


def _kept(
    run: Run[VelocityRecipe], name: str, asked: TrajectoryPrompts, route: Route, on_clips: OnClips | None
) -> Trajectories:
    sample = partial(trajectory_parts, run.family, asked, route, on_clips, run.workers)
    batches = batches_of(run.family, asked, route)
    return Trajectories.from_tensors(run.cache.keep(name, sample, batches=batches, workers=run.workers))


def _reporter(run: Run[VelocityRecipe], done: int, total: int, note: str) -> OnClips:
    """Reports the finished clips, of which `done` are from earlier prompts."""
    return lambda clips: run.report(TrainProgress("trajectories", done + clips, total, note=note))


def _driver(family: Family, erasers: EraserSet) -> Driver:
    fitting = erasers.fit(family.sites())

    @contextlib.contextmanager
    def driver() -> Iterator[None]:
        with erasers.attached(fitting):
            yield

    return driver


def _neutral_way(positions: Positions, recipe: VelocityRecipe) -> list[bool]:
    """Which concept trajectories follow their neutral prompt; never the first that names the concept, which is shown."""
    others = [index for index in range(len(positions)) if index != first_named(positions)]
    chosen = random.Random(recipe.seed).sample(others, min(len(others), round(recipe.neutral_share * len(positions))))
    return [index in chosen for index in range(len(positions))]


def _masked(positions: Positions | None, masks: Masks) -> Positions | None:
    """Positions of the prompts that get a mask."""
    if positions is None or masks == "none":
        return None
    return positions if masks == "all" else positions[: first_named(positions) + 1]


def _route(family: Family, recipe: VelocityRecipe) -> Route:
    return Route(
        clip_size(family, recipe),
        trajectory_steps(family, recipe),
        trajectory_guidance(family, recipe),
        recipe.mask_source,
        recipe.mask_layers,
    )
