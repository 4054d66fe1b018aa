"""The denoising loss of a model on clips, which all attacks minimise, and the latents of those clips.

Shapes: B clips; latents as the family's denoiser takes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from t2vu_core.families import ClipSize, Family, TextCondition
from t2vu_core.model import T2VModel
from t2vu_core.sampling import Step, denoise, guided, noise
from t2vu_core.training.noising import add_noise

NUM_TIMESTEPS = 50
"""Of the schedule that the random timesteps are drawn from."""


def first_and_last(losses: Sequence[float]) -> tuple[float, float]:
    """Means of the first and of the last tenth of the losses: single losses vary with the noise and the timestep."""
    tenth = max(1, len(losses) // 10)
    return sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth


def minimise(
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[], Tensor],
    losses: list[float],
    until: int,
    on_step: Callable[[], None],
) -> None:
    """Take steps on a loss until there are so many losses; each is appended."""
    while len(losses) < until:
        loss = loss_of()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        on_step()


def denoising_loss(
    family: Family, clean: Tensor, condition: TextCondition, size: ClipSize, generator: torch.Generator
) -> Tensor:
    """Mean squared error of one pass at random timesteps, for latents (B, ...) of clips and their prompts."""
    scheduler = family.make_scheduler(NUM_TIMESTEPS, size)
    index = torch.randint(0, NUM_TIMESTEPS, (len(clean),), generator=generator)
    eps = torch.randn(clean.shape, generator=generator).to(clean)
    latents, target = add_noise(scheduler, clean, eps, index)
    timesteps = scheduler.timesteps.cpu()[index].to(clean.device)
    with family.mixed_precision():
        prediction = family.predict(latents, timesteps, condition, size)
    return (prediction.float() - target).pow(2).mean()


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
