"""The concept given in the clip that sampling starts from: noised clips of it, continued with prompts that do not name it.

Image-to-video and video-to-video start this way (SDEdit, Meng et al., arXiv 2108.01073).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from t2vu_core.evaluation.attacks.base import Outcome, Target, tally
from t2vu_core.model import T2VModel
from t2vu_core.sampling import denoise, guided, noise
from t2vu_core.training.noising import add_noise

DEPTHS = (1 / 3, 1 / 2, 2 / 3)
"""Shares of the sampling steps that are skipped: the more, the more of the clip is kept."""
NOISE_SEED = 95_000
"""First seed of the noise that is added; no other measurement uses seeds near it."""


def clip_start(model: T2VModel, target: Target) -> Outcome:
    """Noise the base model's clips of the concept, and continue with the model and the neutral prompts.

    The batches take the depths in turn.
    """
    count, size = target.budget.measured_clips, target.budget.batch_size
    pairs = target.neutral_pairs()
    prompts, neutral = zip(*(pairs[index % len(pairs)] for index in range(count)), strict=True)
    clean = target.latents_of_base(prompts, target.first_seed())
    found: dict[float, list[bool]] = {depth: [] for depth in DEPTHS}
    for turn, first in enumerate(range(0, count, size)):
        rows, depth = slice(first, first + size), DEPTHS[turn % len(DEPTHS)]
        clips = continued(model, clean[rows], neutral[rows], depth, target, first)
        found[depth] += target.judged(clips)
        target.on_step()
    titled = {f"{depth:.0%} of the steps skipped": own for depth, own in found.items()}
    return Outcome([shown for own in found.values() for shown in own], parts=tally(titled))


@torch.no_grad()
def continued(model: T2VModel, clean: Tensor, prompts: Sequence[str], depth: float, target: Target, first: int) -> Tensor:
    """Clips (B, F, 3, H, W) sampled from noised latents (B, ...), with a share `depth` of the steps skipped."""
    budget, size = target.budget, model.clip_size()
    guidance = model.family.defaults.guidance_scale if budget.guidance_scale is None else budget.guidance_scale
    with model.active() as family:
        scheduler = family.make_scheduler(budget.sampling_steps, size)
        skipped = min(len(scheduler.timesteps) - 1, round(depth * len(scheduler.timesteps)))
        eps = noise(family, size, range(NOISE_SEED + first, NOISE_SEED + first + len(clean)))
        latents, _ = add_noise(scheduler, clean.to(eps), eps, torch.full((len(clean),), skipped))
        empty = family.encode([""]).expand(len(clean)) if guidance > 1 else None
        predict = guided(family, size, family.encode(prompts), empty, guidance)
        latents = denoise(scheduler, latents, predict, step=family.step, skip=skipped)
        return family.decode_or_tile(latents, size).cpu()
