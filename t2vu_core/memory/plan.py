"""The memory plan of a velocity training run: what is on the device at once in each of its stages, from shapes alone.

GB are 10^9 bytes, as in the sizes of files; a card of "16 GB" is planned as 16 of these, a little less than it has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from t2vu_core.errors import UserError
from t2vu_core.families import ClipSize, Family
from t2vu_core.memory.activations import pass_bytes_by_depth, rows_of, step_bytes_by_depth
from t2vu_core.memory.placement import AS_LOADED, Placement
from t2vu_core.memory.shapes import ShapedModel, shaped_model
from t2vu_core.memory.text_shapes import text_condition
from t2vu_core.model_source import ModelSource
from t2vu_core.pipelines import failures_blamed
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.velocity.own_schedule import trajectory_steps
from t2vu_core.training.velocity.points import clip_size
from t2vu_core.training.velocity.rollout import rows_a_pass

GB = 10**9
RESERVE = 0.05, 0.6e9
"""Share of the memory, and bytes, that the plan leaves to the allocator's gaps and the driver. An assumption, not measured."""
LARGEST_UNIT = 64
"""No architecture asks for multiples of more pixels."""
MOMENTS = 3
"""Copies of the erasers that stay: weights and Adam's two moments. Their gradients are part of a step's allocations."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of one training run on one device."""

    model: str
    size: ClipSize
    rows: int
    placement: Placement
    weights: int
    """Frozen weights on the device while it trains."""
    loading: int
    """Weights on the device while prompts are encoded: text encoder and VAE too, unless they are offloaded; then a layer."""
    encoding: int
    """Allocations while a batch of prompts is encoded."""
    erasers: int
    """The erasers with Adam's moments."""
    prompts: int
    activations: int
    """Allocations of a training step, with the erasers' gradients."""
    sampling: int
    """Allocations of a pass that samples trajectories."""
    trajectories: int
    trajectories_on: str
    """"memory" or "disk" of the host."""
    host_only: bool = False
    """Whether the model computes on the CPU: then trajectories in memory take from the same memory."""

    with_encoder: bool = False
    """Whether steps of learned tokens (`probe_rounds`) need the text encoder's gradients while the erasers are trained."""

    least_weights: int | None = None
    """Bytes of the weights that must be on the device, where ComfyUI moves the others there layer by layer; None elsewhere."""

    @property
    def peak(self) -> int:
        """The largest sum of what is there at once."""
        return self._peak(self.weights, self.loading)

    @property
    def needed(self) -> int:
        """The peak with the reserve."""
        return _with_reserve(self.peak)

    @property
    def least(self) -> int:
        """What suffices, with the reserve, if as many weights as possible are in host memory."""
        if self.least_weights is None or self.host_only:
            return self.needed
        return _with_reserve(self._peak(self.least_weights, self.least_weights))

    def fits(self, limit: int) -> bool:
        """Whether it fits in that many bytes, with the reserve."""
        return self.least <= limit

    def offloaded(self, limit: int) -> int:
        """Bytes of weights that must be in host memory for it to fit in that many."""
        return min(max(0, self.needed - limit), self.needed - self.least)

    def _peak(self, weights: int, loading: int) -> int:
        stored = self.trajectories if self.host_only and self.trajectories_on == "memory" else 0
        resident = weights + self.prompts + stored
        training = resident + self.erasers + self.activations
        if self.with_encoder:
            # No more rows than in a step; the encoder's own activations are taken to be as large as those of encoding.
            training += loading - weights + self.encoding
        return max(loading + self.encoding + self.prompts, resident + self.sampling, training)


def _with_reserve(peak: int) -> int:
    share, fixed = RESERVE
    return round(peak * (1 + share) + fixed)


@dataclass
class Planner:
    """Plans one model with one recipe and placement; every clip size is counted once."""

    shaped: ShapedModel
    recipe: VelocityRecipe
    host_only: bool = False
    _plans: dict[ClipSize, MemoryPlan] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        source: Path | ModelSource,
        recipe: VelocityRecipe,
        dtype: torch.dtype,
        placement: Placement = AS_LOADED,
        *,
        host_only: bool = False,
    ) -> Planner:
        """For a model of which only the configuration files are read, and the list of tensors in a GGUF file."""
        return cls(shaped_model(source, dtype, placement), recipe, host_only)

    @property
    def size(self) -> ClipSize:
        """The clip size of the recipe. Raises UserError if the model cannot make it."""
        with failures_blamed(self.shaped.family):
            return clip_size(self.shaped.family, self.recipe)

    def plan(self, size: ClipSize | None = None) -> MemoryPlan:
        """The plan of a clip size; of the recipe's by default."""
        size = size or self.size
        if size not in self._plans:
            with self.shaped.computing() as family:
                self._plans[size] = self._count(family, size)
        return self._plans[size]

    def with_frames(self, num_frames: int) -> MemoryPlan:
        """The plan with another number of frames, interpolated: allocations are linear in the number of latent frames."""
        low, high = self.plan(self._frames(1)), self.plan()
        size = replace(self.size, num_frames=num_frames)
        least, most, asked = (self._latent_values(each) for each in (low.size, high.size, size))
        if least == most:
            return self.plan(size)
        share = (asked - least) / (most - least)

        def between(first: int, last: int) -> int:
            return round(first + share * (last - first))

        return replace(
            high, size=size, activations=between(low.activations, high.activations),
            sampling=round(high.sampling * self._values_a_pass(size) / self._values_a_pass(high.size)),
            trajectories=between(low.trajectories, high.trajectories),
        )  # fmt: skip

    def _values_a_pass(self, size: ClipSize) -> int:
        return rows_a_pass(self.shaped.family, size) * self._latent_values(size)

    def most_frames(self, limit: int) -> MemoryPlan | None:
        """The largest number of frames up to the model's own that fits; None if not even one frame does."""
        own = max(self.shaped.family.defaults.size.num_frames, self.size.num_frames)
        for frames in range(own, 0, -1):
            if self._possible(frames) and (found := self.with_frames(frames)).fits(limit):
                return found
        return None

    def frames_below(self, frames: int) -> int:
        """The largest number of frames up to this that the model can make."""
        return next(count for count in range(frames, 0, -1) if count == 1 or self._possible(count))

    def nearest(self, size: ClipSize) -> ClipSize:
        """The smallest size that the model can make, with at least these pixels and this shape's number of frames."""
        heights, widths = (range(length, length + LARGEST_UNIT) for length in (size.height, size.width))
        own = self.size
        height = next((each for each in heights if self._makes(replace(own, height=each))), own.height)
        width = next((each for each in widths if self._makes(replace(own, width=each))), own.width)
        return replace(size, height=height, width=width)

    def _possible(self, frames: int) -> bool:
        return self._makes(self._frames(frames))

    def _makes(self, size: ClipSize) -> bool:
        try:
            self.shaped.family.check_size(size)
        except UserError:
            return False
        return True

    def _frames(self, num_frames: int) -> ClipSize:
        return replace(self.size, num_frames=num_frames)

    def _latent_values(self, size: ClipSize) -> int:
        return math.prod(self.shaped.family.latent_shape(size))

    def _count(self, family: Family, size: ClipSize) -> MemoryPlan:
        recipe, shaped = self.recipe, self.shaped
        step = step_bytes_by_depth(family, recipe, size, host_only=self.host_only)
        return MemoryPlan(
            shaped.name, size, rows_of(recipe), shaped.placement, shaped.weights(),
            loading=shaped.loading(host_only=self.host_only),
            encoding=self._encoding(),
            erasers=MOMENTS * step.erasers,
            prompts=_prompt_bytes(family, recipe),
            activations=step.activations,
            sampling=pass_bytes_by_depth(family, rows_a_pass(family, size), size, host_only=self.host_only),
            trajectories=_trajectory_bytes(family, recipe, size),
            trajectories_on=recipe.trajectory_cache,
            host_only=self.host_only,
            with_encoder=bool(recipe.probe_rounds),
            least_weights=shaped.least_weights(),
        )  # fmt: skip

    def _encoding(self) -> int:
        counted = self.shaped.counted
        if "encoding" not in counted:
            counted["encoding"] = self.shaped.encoding()
        return counted["encoding"]


def _prompt_bytes(family: Family, recipe: VelocityRecipe) -> int:
    """Encoded prompts: one a trajectory, neutral ones, the empty one, and for mixing neutral ones in the concept's layout."""
    count = 1 + 2 * (recipe.concept_trajectories + recipe.two_subject_trajectories)
    count += recipe.preserve_trajectories if recipe.preserves else 0
    one = text_condition(family, 1)
    own, *shared = (
        0 if part is None else part.numel() * part.element_size() for part in (one.embeds_BSD, one.pooled_BD, one.glyphs_BGD)
    )
    aligned = recipe.concept_trajectories if recipe.mixed_share else 0
    return count * (own + sum(shared)) + aligned * own


def _trajectory_bytes(family: Family, recipe: VelocityRecipe, size: ClipSize) -> int:
    """As `points.expected_bytes` counts them, with as many prompts as the recipe asks for, and those that clip starts need.

    The latter are sampled last; of them only the clips stay.
    """
    steps, values = trajectory_steps(family, recipe), math.prod(family.latent_shape(size))
    with_neutral = recipe.concept_trajectories + recipe.two_subject_trajectories
    kept = with_neutral * (4 * steps + 1) + (recipe.preserve_trajectories if recipe.preserves else 0) * (3 * steps + 1)
    masks = with_neutral * math.prod(family.token_grid(size)) if recipe.localization_weight else 0
    return 2 * (kept + _clip_starts(recipe) * (3 * steps + 1)) * values + masks


def _clip_starts(recipe: VelocityRecipe) -> int:
    """The trajectories that follow their own prompt, whose clips are starts; the first is always one."""
    if not (recipe.clip_start_share and recipe.preserves):
        return 0
    count = recipe.concept_trajectories
    return count - min(count - 1, round(recipe.neutral_share * count))
