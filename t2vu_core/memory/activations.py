"""The largest allocations of a training step and of a pass without gradients, counted while they are run.

On a `ShapedModel` nothing is computed: shapes alone tell the bytes. On a loaded model the same functions count real ones.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.families import ClipSize, Family
from t2vu_core.memory.allocations import Allocations
from t2vu_core.memory.placement import weights_kept
from t2vu_core.memory.text_shapes import text_condition
from t2vu_core.recipes import VelocityRecipe


@dataclass(frozen=True)
class StepBytes:
    """What a step allocates at most, its erasers' gradients included, and what the erasers' weights take."""

    rows: int
    activations: int
    erasers: int


def rows_of(recipe: VelocityRecipe) -> int:
    """Rows of one training pass."""
    rows = recipe.concept_batch * (2 if recipe.guided_objective else 1)
    if recipe.two_subject_trajectories:
        rows += max(1, recipe.preserve_batch // 4)
    return rows + (recipe.preserve_batch if recipe.preserves else 0)


def step_bytes(family: Family, recipe: VelocityRecipe, size: ClipSize) -> StepBytes:
    """A training step: one pass of all rows, the loss, and the backward pass."""
    sites = family.eraser_sites() if recipe.kind == "bottleneck" else family.lora_sites()
    erasers = EraserSet.create(sites, rank=recipe.rank, seed=0)
    removed: list[Tensor] = []

    def record(_: str, output: Tensor) -> None:
        if recipe.localization_weight:
            removed.append(output.square().mean())

    checkpointing = family.gradient_checkpointing() if recipe.gradient_checkpointing else contextlib.nullcontext()
    with torch.enable_grad(), weights_kept(family), checkpointing, erasers.attached(sites, record=record), Allocations() as counted:
        loss = _loss(family, rows_of(recipe), size)
        loss = torch.stack([loss, *removed]).sum() if removed else loss
        removed.clear()
        loss.backward()
    return StepBytes(rows_of(recipe), counted.peak, sum(parameter.nbytes for parameter in erasers.parameters()))


@torch.no_grad()
def pass_bytes(family: Family, rows: int, size: ClipSize) -> int:
    """A pass without gradients, as trajectories are sampled."""
    with Allocations() as counted:
        _predict(family, torch.empty(rows, *family.latent_shape(size)), size)
    return counted.peak


def _loss(family: Family, rows: int, size: ClipSize) -> Tensor:
    shape = (rows, *family.latent_shape(size))
    latents, target = torch.zeros(shape), torch.zeros(shape)
    return F.mse_loss(_predict(family, latents, size), target)


def _predict(family: Family, latents: Tensor, size: ClipSize) -> Tensor:
    timesteps = torch.zeros(len(latents))
    with torch.autocast(family.device.type, torch.bfloat16):
        return family.predict(latents, timesteps, text_condition(family, len(latents)), size)
