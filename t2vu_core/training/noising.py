"""Adding noise to clean latents as a scheduler removes it, and the denoising loss on clips.

Shapes: B clips; latents as the family's denoiser takes them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from t2vu_core.families import ClipSize, Family, TextCondition

NUM_TIMESTEPS = 50
"""Of the schedule that random timesteps are drawn from."""


def add_noise(scheduler: Any, clean: Tensor, eps: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """x_t and the prediction that is correct there, for indices `place` (B,) into the scheduler's timesteps.

    Diffusion (Ho et al., arXiv 2006.11239; v: Salimans & Ho, arXiv 2202.00512) or flow matching (Lipman et al.,
    arXiv 2210.02747), in the model's own output space. A scheduler that has a method `noised` is asked for both.
    """
    if hasattr(scheduler, "noised"):
        noisy, target = scheduler.noised(clean, eps, place)
        return noisy, target
    place = place.cpu()
    # Some schedulers that can do flow matching also keep the betas of diffusion.
    if hasattr(scheduler, "alphas_cumprod") and scheduler.config.get("prediction_type") != "flow_prediction":
        alpha = scheduler.alphas_cumprod.cpu()[scheduler.timesteps.cpu().long()[place]]
        signal, spread = (_like(root, clean) for root in (alpha.sqrt(), (1 - alpha).sqrt()))
        targets = {"epsilon": eps, "v_prediction": signal * eps - spread * clean, "sample": clean}
        return signal * clean + spread * eps, targets[scheduler.config.prediction_type]
    sigma = _like(scheduler.sigmas.cpu()[place], clean)
    if scheduler.config.get("invert_sigmas"):
        return sigma * clean + (1 - sigma) * eps, clean - eps
    return (1 - sigma) * clean + sigma * eps, eps - clean


def _like(values_B: Tensor, latents: Tensor) -> Tensor:
    return values_B.to(latents).view(-1, *[1] * (latents.dim() - 1))


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
