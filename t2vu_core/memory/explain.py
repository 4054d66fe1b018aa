"""The memory plan of a loaded model, in one line before a training run and in the message when memory runs out."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch

from t2vu_core.errors import UserError, first_line
from t2vu_core.families import Family
from t2vu_core.memory.exhausted import is_exhausted
from t2vu_core.memory.placement import AS_LOADED, PLACED
from t2vu_core.memory.plan import GB, MemoryPlan, Planner
from t2vu_core.memory.shapes import ShapedModel, shaped_model
from t2vu_core.memory.wording import advice, clip, encoding_advice, gigabytes, training_advice
from t2vu_core.model_source import ModelSource
from t2vu_core.recipes import VelocityRecipe

log = logging.getLogger(__name__)


@runtime_checkable
class ShapesItself(Protocol):
    """A family other than a diffusers pipeline, which gives a copy of itself without weights."""

    def shaped(self) -> ShapedModel:
        """The same classes with fake tensors; nothing of the loaded model changes."""


def plan_of(family: Family, recipe: VelocityRecipe) -> MemoryPlan | None:
    """The plan of a training run on a loaded model; None if it has neither a folder nor shapes, or cannot be planned."""
    try:
        shaped = shapes_of(family)
        return None if shaped is None else Planner(shaped, recipe, family.device.type == "cpu").plan()
    except Exception as error:  # A plan is a service: whatever an architecture's code raises on shapes, the run goes on.
        log.info("The memory cannot be planned: %s", error)
        return None


def shapes_of(family: Family) -> ShapedModel | None:
    """A loaded model without its weights; None if it has neither a folder nor shapes."""
    if isinstance(family, ShapesItself):
        return family.shaped()
    if family.folder is None:
        return None
    placement = getattr(next(iter(family.denoisers.values())), PLACED, AS_LOADED)
    return shaped_model(ModelSource(family.folder, family.files), family.dtype, placement)


def memory_line(family: Family, recipe: VelocityRecipe) -> str | None:
    """The plan in one line, with the memory of the device; None if there is no plan."""
    plan = plan_of(family, recipe)
    if plan is None:
        return None
    stored = (
        f"{gigabytes(plan.trajectories)} of trajectories {'in host memory' if plan.trajectories_on == 'memory' else 'on disk'}"
    )
    parts = f"{gigabytes(plan.weights)} of weights, {gigabytes(plan.activations)} for a step of {plan.rows} points"
    line = f"Memory, planned: {gigabytes(plan.peak)} at {clip(plan.size)} ({parts}), {stored}."
    limit = memory_of(family.device)
    return line if limit is None else f"{line} {_against(plan, limit)}"


def _against(plan: MemoryPlan, limit: int) -> str:
    """Whether the plan fits in the device's memory."""
    if not plan.fits(limit):
        return f"That may not fit in {gigabytes(limit)}. {advice(plan)}"
    if plan.needed <= limit:
        return f"That fits in {gigabytes(limit)}."
    moved = plan.offloaded(limit)
    return f"That fits in {gigabytes(limit)} with {gigabytes(moved)} of the weights in host memory, where ComfyUI keeps them."


def memory_of(device: torch.device) -> int | None:
    """The memory of a device in bytes: a GPU's own, or the host's; None if it cannot be told."""
    if device.type == "cuda" and torch.cuda.is_available():
        return torch.cuda.get_device_properties(device).total_memory
    if device.type == "cuda" or not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@contextlib.contextmanager
def out_of_memory_explained(family: Family, recipe: VelocityRecipe, *, encoding: bool = False) -> Iterator[None]:
    """Raise UserError, with what to lower from the plan, if the device's memory runs out in this block.

    `encoding`: whether it encodes prompts, and does not train. Models without a plan, and
    those of ComfyUI, raise the error as it is: the node says what to lower there.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_exhausted(error):
            raise
        plan = None if isinstance(family, ShapesItself) else plan_of(family, recipe)
        if plan is None:
            raise
        limit = memory_of(family.device)
        has = "" if limit is None else f", and the device has {gigabytes(limit)}, not all of it free"
        lower = encoding_advice(plan) if encoding else training_advice(plan)
        needs = f"{clip(plan.size)} need {gigabytes(plan.needed)}{has}"
        raise UserError(f"The device's memory is too small for this training run: {needs}. {lower}") from error


def limit_of(device: str | None, given: float | None) -> tuple[int, bool]:
    """What to fit in, in bytes: `given` GB, or the device's memory. With it, whether that is the host's own memory."""
    try:
        named = None if device is None else torch.device(device)
    except RuntimeError as error:
        raise UserError(f"There is no device {device!r}: {first_line(error)}") from error
    on_gpu = (given is not None or torch.cuda.is_available()) if named is None else named.type == "cuda"
    if given is not None:
        if not (given > 0 and math.isfinite(given)):
            raise UserError(f"The memory to fit in is a number of GB above 0, not {given}.")
        return round(given * GB), not on_gpu
    limit = memory_of(torch.device(device or ("cuda" if on_gpu else "cpu")))
    if limit is None:
        raise UserError("There is no GPU to fit in: say how much memory it has with --memory-limit GB.")
    return limit, not on_gpu
