"""Settings by memory: what a model of that size can be trained with on a card of 8, 12, 16 or 24 GB.

The figures come from the memory plan; no GPU has measured them. The order of preference: everything on the device before
anything is offloaded or rounded, then larger batches, then more frames; only in the end a smaller picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from t2vu_core.errors import UserError
from t2vu_core.families import ClipSize
from t2vu_core.memory.placement import Placement
from t2vu_core.memory.plan import GB, MemoryPlan, Planner
from t2vu_core.memory.shapes import ShapedModel
from t2vu_core.memory.stored_sizes import is_quantised_folder
from t2vu_core.memory.wording import clip, gigabytes
from t2vu_core.model_source import ModelSource
from t2vu_core.recipes import VelocityRecipe

MEMORIES = (8, 12, 16, 24)
"""GB of the cards that presets are listed for; every other number works too."""
PLACEMENTS = (Placement(), Placement("encoder"), Placement("encoder", "fp8"), Placement("blocks"), Placement("blocks", "fp8"))
BATCHES = ((4, 8), (2, 4), (1, 2))
"""Points with and without the concept in a step."""
FRAMES = 17
"""What a placement must have room for before frames are given up for it."""
CHOSEN = (
    "num_frames", "height", "width", "concept_batch", "preserve_batch", "gradient_checkpointing", "trajectory_cache",
    "probe_rounds",
)  # fmt: skip
"""Settings of a recipe that a preset chooses."""
SAVING: Mapping[str, Any] = {"gradient_checkpointing": True, "trajectory_cache": "disk", "probe_rounds": 0}


@dataclass(frozen=True)
class MemoryPreset:
    """How a model is placed and trained to fit in a memory, with its plan."""

    limit: int
    placement: Placement
    settings: Mapping[str, Any]
    """What it changes in the recipe."""
    plan: MemoryPlan

    def describe(self) -> str:
        """One line: the clip, the batch, what is offloaded, and the planned peak."""
        points = f"{self.settings['concept_batch']} + {self.settings['preserve_batch']} points a step"
        moved = 0 if self.plan.least_weights is None else self.plan.offloaded(self.limit)
        by_comfyui = f"{gigabytes(moved)} of the weights in host memory, where ComfyUI keeps them" if moved else ""
        placed = by_comfyui or self.placement.describe() or "all on the device"
        planned = gigabytes(self.plan.needed - moved)
        return f"{self.limit / GB:g} GB: {clip(self.plan.size)}, {points}, {placed}; planned {planned}, not measured"


def memory_preset(
    source: Path | ModelSource, limit: int, recipe: VelocityRecipe, dtype: torch.dtype, fixed: Mapping[str, Any] | None = None
) -> MemoryPreset:
    """The settings with which a training run of the recipe fits in `limit` bytes; `fixed` are settings that must stay.

    Raises UserError if nothing fits.
    """
    fixed, counted = fixed or {}, dict[str, int]()
    source = source if isinstance(source, ModelSource) else ModelSource(source)
    *others, last = _placements(source)
    for placement in (*others, last):
        planner = Planner.of(source, _with(recipe, fixed, BATCHES[-1]), dtype, placement)
        planner.shaped.counted.update(counted)
        found, smallest = _fitting(planner, limit, fixed, last=placement == last)
        if found is not None:
            return found
        counted |= planner.shaped.counted
    raise UserError(
        f"{source.name} does not fit in {limit / GB:g} GB: offloaded as far as it can be, one frame still needs "
        f"{gigabytes(smallest.needed)}. Use a smaller model, or a device with more memory."
    )


def preset_for(shaped: ShapedModel, limit: int, recipe: VelocityRecipe, fixed: Mapping[str, Any] | None = None) -> MemoryPreset:
    """`memory_preset` for a model that is loaded already, so that its weights stay as and where they are."""
    fixed = fixed or {}
    found, smallest = _fitting(Planner(shaped, _with(recipe, fixed, BATCHES[-1])), limit, fixed, last=True)
    if found is not None:
        return found
    lighter = (
        "Load the model offloaded or in fp8, use a smaller one" if smallest.least_weights is None else "Use a smaller model"
    )
    needs = f"{clip(smallest.size)} need {gigabytes(smallest.least)}"
    raise UserError(
        f"{shaped.name} does not fit in {limit / GB:g} GB as it is loaded: {needs}. {lighter}, or a device with more memory."
    )


def _fitting(planner: Planner, limit: int, fixed: Mapping[str, Any], *, last: bool) -> tuple[MemoryPreset | None, MemoryPlan]:
    """The settings with which a placement fits, None if none do, and the plan of the last ones that were tried."""
    for least in _sizes(planner, fixed, last=last):
        smallest = planner.plan(least)
        if smallest.fits(limit):
            return _widened(planner, least, limit, fixed), smallest
    return None, smallest


def _placements(source: ModelSource) -> Sequence[Placement]:
    """Those that the denoiser's weights allow: quantised ones stay as they are, and only GGUF's can be offloaded in blocks."""
    if source.is_gguf:
        return [placement for placement in PLACEMENTS if placement.base_dtype == "same"]
    if is_quantised_folder(source):
        return [placement for placement in PLACEMENTS if placement.base_dtype == "same" and placement.offload != "blocks"]
    return PLACEMENTS


def fixed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of a user's settings, those that a preset would choose otherwise."""
    return {name: value for name, value in settings.items() if name in CHOSEN}


def _widened(planner: Planner, least: ClipSize, limit: int, fixed: Mapping[str, Any]) -> MemoryPreset:
    """The largest batch that fits at the least size, then the most frames with it."""
    for batch in BATCHES:
        recipe = _with(
            planner.recipe, {**fixed, "height": least.height, "width": least.width, "num_frames": least.num_frames}, batch
        )
        wide = Planner(planner.shaped, recipe)
        if wide.plan(least).fits(limit):
            break
    most = None if "num_frames" in fixed else wide.most_frames(limit)
    found = wide.plan(most.size) if most is not None else wide.plan(least)
    found = found if found.fits(limit) else wide.plan(least)
    size = found.size
    changed = {**SAVING, "num_frames": size.num_frames, "height": size.height, "width": size.width,
               "concept_batch": wide.recipe.concept_batch, "preserve_batch": wide.recipe.preserve_batch}  # fmt: skip
    return MemoryPreset(limit, planner.shaped.placement, {**changed, **fixed}, found)


def _with(recipe: VelocityRecipe, fixed: Mapping[str, Any], batch: tuple[int, int]) -> VelocityRecipe:
    return replace(recipe, **{**SAVING, "concept_batch": batch[0], "preserve_batch": batch[1], **fixed})


def _sizes(planner: Planner, fixed: Mapping[str, Any], *, last: bool) -> Iterator[ClipSize]:
    """The least clip of a placement; with the last one, fewer frames and then smaller pictures too."""
    own = planner.size
    frames = own.num_frames if "num_frames" in fixed else planner.frames_below(min(FRAMES, own.num_frames))
    yield replace(own, num_frames=frames)
    if not last:
        return
    few = frames if "num_frames" in fixed else planner.frames_below(5)
    yield replace(own, num_frames=few)
    if "height" in fixed or "width" in fixed:
        return
    for part in (2, 4):
        yield planner.nearest(replace(own, num_frames=few, height=own.height // part, width=own.width // part))
