"""The clips that attacks are trained on, as latents, and the losses that they report.

Shapes: B clips; latents as the family's denoiser takes them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from t2vu_core.model import T2VModel
from t2vu_core.sampling import Step, denoise, guided, noise


def first_and_last(losses: Sequence[float]) -> tuple[float, float]:
    """Means of the first and of the last tenth of the losses: single losses vary with the noise and the timestep."""
    tenth = max(1, len(losses) // 10)
    return sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth


@torch.no_grad()
def clip_latents(
    model: T2VModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int,
    guidance_scale: float | None = None,
    batch: int = 8,
    step: Step | None = None,
) -> Tensor:
    """Latents of clips that the model generates, (B, ...): sampled as in `T2VModel.sample`, without the decoder.

    `step` replaces the scheduler's own; one that keeps a state is for a single batch.
    """
    size = model.clip_size()
    scale = model.family.defaults.guidance_scale if guidance_scale is None else guidance_scale
    parts = []
    with model.active() as family:
        nothing = family.encode([""]) if scale > 1 else None
        for first in range(0, len(prompts), batch):
            rows = slice(first, first + batch)
            condition, latents = family.encode(prompts[rows]), noise(family, size, seeds[rows])
            empty = nothing and nothing.expand(len(latents))
            scheduler = family.make_scheduler(steps, size)
            predict = guided(family, size, condition, empty, scale)
            parts.append(denoise(scheduler, latents, predict, step=step or family.step))
    return torch.cat(parts)
