"""The largest allocations of a training step and of a pass without gradients, counted while they are run.

On a `ShapedModel` nothing is computed: shapes alone tell the bytes. On a loaded model the same functions count real ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2vu_core.erasers import EraserSet
from t2vu_core.families import ClipSize, Family
from t2vu_core.memory.allocations import Allocations
from t2vu_core.memory.placement import weights_kept
from t2vu_core.memory.text_shapes import text_condition
from t2vu_core.recipes import VelocityRecipe

BLOCK_LISTS = ("blocks", "transformer_blocks", "single_transformer_blocks", "double_blocks", "single_blocks")
"""Lists of equal blocks in a transformer, of diffusers' and of ComfyUI's. A UNet's are not equal: all count."""
FEW = 2


@dataclass(frozen=True)
class StepBytes:
    """What a step allocates at most, its erasers' gradients included, and what the erasers' weights take."""

    activations: int
    erasers: int


def rows_of(recipe: VelocityRecipe) -> int:
    """Rows of one training pass."""
    rows = recipe.concept_batch * (2 if recipe.guided_objective else 1)
    if recipe.two_subject_trajectories:
        rows += max(1, recipe.preserve_batch // 4)
    return rows + (recipe.preserve_batch if recipe.preserves else 0)


def step_bytes(family: Family, recipe: VelocityRecipe, size: ClipSize, *, host_only: bool = False) -> StepBytes:
    """A training step: one pass of all rows, the loss, and the backward pass.

    `host_only`: as on this machine's processor, which may be slow in bf16 and then computes in float32; else as on a GPU.
    """
    sites = family.sites_of_kind(recipe.kind)
    erasers = EraserSet.create(sites, rank=recipe.rank, seed=0)
    removed: list[Tensor] = []

    def record(_: str, output: Tensor) -> None:
        if recipe.localization_weight:
            removed.append(output.square().mean())

    checkpointing = family.gradient_checkpointing() if recipe.gradient_checkpointing else contextlib.nullcontext()
    with (
        torch.enable_grad(),
        checkpointing,
        weights_kept(family),
        erasers.attached(sites, record=record),
        Allocations() as counted,
    ):
        loss = _loss(family, rows_of(recipe), size, host_only)
        loss = torch.stack([loss, *removed]).sum() if removed else loss
        removed.clear()
        loss.backward()
    return StepBytes(counted.peak, sum(parameter.nbytes for parameter in erasers.parameters()))


@torch.no_grad()
def pass_bytes(family: Family, rows: int, size: ClipSize, *, host_only: bool = False) -> int:
    """A pass without gradients, as trajectories are sampled."""
    with Allocations() as counted:
        _predict(family, torch.empty(rows, *family.latent_shape(size)), size, host_only)
    return counted.peak


@torch.no_grad()
def encode_bytes(encoder: nn.Module, rows: int, tokens: int) -> int:
    """A pass of a text encoder over prompts of that many tokens."""
    with Allocations() as counted:
        ids, mask = torch.zeros(rows, tokens, dtype=torch.long), torch.ones(rows, tokens, dtype=torch.long)
        # Padding is what prompts have; without any, an encoder may drop its mask and take less.
        mask[:, -1] = 0
        encoder(input_ids=ids, attention_mask=mask)
    return counted.peak


def step_bytes_by_depth(family: Family, recipe: VelocityRecipe, size: ClipSize, *, host_only: bool = False) -> StepBytes:
    """`step_bytes` of a deep denoiser from those of shallow ones: every block adds the same."""

    def count() -> tuple[int, int]:
        found = step_bytes(family, recipe, size, host_only=host_only)
        return found.activations, found.erasers

    return StepBytes(*_by_depth(family, count))


def pass_bytes_by_depth(family: Family, rows: int, size: ClipSize, *, host_only: bool = False) -> int:
    """`pass_bytes` of a deep denoiser from those of shallow ones."""
    return _by_depth(family, lambda: (pass_bytes(family, rows, size, host_only=host_only),))[0]


def _by_depth(family: Family, count: Callable[[], tuple[int, ...]]) -> list[int]:
    """What `count` gives, with every list of blocks as long as it is; it is called with lists of two and three blocks."""
    lists = [name for name in BLOCK_LISTS if any(len(getattr(each, name, ())) > FEW for each in family.denoisers.values())]
    with shortened(family, {}) if not lists else shortened(family, dict.fromkeys(lists, FEW)):
        totals = list(count())
    base = tuple(totals)
    for name in lists:
        more = max(len(getattr(each, name)) for each in family.denoisers.values()) - FEW
        with shortened(family, dict.fromkeys(lists, FEW) | {name: FEW + 1}):
            totals = [total + more * (longer - short) for total, longer, short in zip(totals, count(), base, strict=True)]
    return totals


@contextlib.contextmanager
def shortened(family: Family, lengths: Mapping[str, int]) -> Iterator[None]:
    """Inside this context, the named lists of blocks of every denoiser have that length: the first ones, and the last."""
    whole = [(each, name, getattr(each, name)) for each in family.denoisers.values() for name in lengths]
    try:
        for denoiser, name, blocks in whole:
            setattr(denoiser, name, nn.ModuleList([*blocks[: lengths[name] - 1], blocks[-1]]))
        yield
    finally:
        for denoiser, name, blocks in whole:
            setattr(denoiser, name, blocks)


def _loss(family: Family, rows: int, size: ClipSize, host_only: bool) -> Tensor:
    shape = (rows, *family.latent_shape(size))
    latents, target = torch.zeros(shape), torch.zeros(shape)
    return F.mse_loss(_predict(family, latents, size, host_only), target)


def _predict(family: Family, latents: Tensor, size: ClipSize, host_only: bool) -> Tensor:
    timesteps = torch.zeros(len(latents))
    with family.mixed_precision() if host_only else torch.autocast(family.device.type, torch.bfloat16):
        return family.predict(latents, timesteps, text_condition(family, len(latents)), size)
