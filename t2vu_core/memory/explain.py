"""The memory plan of a loaded model, in one line before a training run and in the message when memory runs out."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator

import torch

from t2vu_core.errors import UserError, first_line
from t2vu_core.families import Family
from t2vu_core.memory.placement import AS_LOADED, PLACED
from t2vu_core.memory.plan import GB, MemoryPlan, Planner
from t2vu_core.memory.wording import advice, clip, encoding_advice, gigabytes, training_advice
from t2vu_core.model_source import ModelSource
from t2vu_core.recipes import VelocityRecipe

log = logging.getLogger(__name__)


def plan_of(family: Family, recipe: VelocityRecipe) -> MemoryPlan | None:
    """The plan of a training run on a loaded diffusers folder; None for other models, and if it cannot be planned."""
    if family.folder is None or not hasattr(family, "pipeline"):
        return None
    try:
        placement = getattr(next(iter(family.denoisers.values())), PLACED, AS_LOADED)
        planner = Planner.of(ModelSource(family.folder, family.files), recipe, family.dtype, placement)
        planner.host_only = family.device.type == "cpu"
        return planner.plan()
    except Exception as error:  # A plan is a service: whatever an architecture's code raises on shapes, the run goes on.
        log.info("The memory cannot be planned: %s", error)
        return None


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
    if limit is not None and not plan.fits(limit):
        line += f" That may not fit in {gigabytes(limit)}. {advice(plan)}"
    return line


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

    `encoding`: whether it encodes prompts, and does not train. Models without a plan raise the error as it is.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        plan = plan_of(family, recipe)
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
