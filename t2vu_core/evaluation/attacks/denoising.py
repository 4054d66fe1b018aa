"""The denoising loss of a model on clips: what embedding inversion, prompt search and fine-tuning all minimise.

Shapes: B clips; latents as the family's denoiser takes them.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from t2vu_core.families import ClipSize, Family, TextCondition
from t2vu_core.model import T2VModel, guided, noise

# Denoising steps that the random places on the way from clip to noise are drawn from.
PLACES = 50


def noised(scheduler: Any, clean: Tensor, eps: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """x_t and what the model should predict there, for places (B,) among the scheduler's timesteps.

    Diffusion (Ho et al., arXiv 2006.11239; v: Salimans & Ho, arXiv 2202.00512) or flow matching (Lipman et al.,
    arXiv 2210.02747), in the model's own output space.
    """
    place = place.cpu()
    # Some schedulers that also do flow matching keep the betas of diffusion.
    if hasattr(scheduler, "alphas_cumprod") and scheduler.config.get("prediction_type") != "flow_prediction":
        alpha = scheduler.alphas_cumprod.cpu()[scheduler.timesteps.cpu().long()[place]]
        signal, spread = (_like(root, clean) for root in (alpha.sqrt(), (1 - alpha).sqrt()))
        targets = {"epsilon": eps, "v_prediction": signal * eps - spread * clean, "sample": clean}
        return signal * clean + spread * eps, targets[scheduler.config.prediction_type]
    sigma = _like(scheduler.sigmas.cpu()[place], clean)
    if scheduler.config.get("invert_sigmas"):
        return sigma * clean + (1 - sigma) * eps, clean - eps
    return (1 - sigma) * clean + sigma * eps, eps - clean


def denoising_loss(
    family: Family, clean: Tensor, condition: TextCondition, size: ClipSize, generator: torch.Generator
) -> Tensor:
    """Mean squared error of one pass at random places, for latents (B, ...) of clips and their prompts."""
    scheduler = family.make_scheduler(PLACES, size)
    place = torch.randint(0, PLACES, (len(clean),), generator=generator)
    eps = torch.randn(clean.shape, generator=generator).to(clean)
    latents, target = noised(scheduler, clean, eps, place)
    timesteps = scheduler.timesteps.cpu()[place].to(clean.device)
    with torch.autocast(family.device.type, torch.bfloat16):
        prediction = family.predict(latents, timesteps, condition, size)
    return (prediction.float() - target).pow(2).mean()


@torch.no_grad()
def clip_latents(model: T2VModel, prompts: Sequence[str], seeds: Sequence[int], *, steps: int, batch: int = 8) -> Tensor:
    """Latents of clips that the model makes, (B, ...): sampling as in `T2VModel.sample`, without the decoder."""
    size, scale = model.clip_size(), model.family.defaults.guidance_scale
    parts = []
    with model.active() as family:
        empty = family.encode([""])
        for first in range(0, len(prompts), batch):
            rows = slice(first, first + batch)
            condition, latents = family.encode(prompts[rows]), noise(family, size, seeds[rows])
            scheduler = family.make_scheduler(steps, size)
            for timestep in scheduler.timesteps:
                prediction = guided(family, latents, timestep, condition, empty.expand(len(latents)), scale, size)
                latents = family.step(scheduler, prediction, timestep, latents)
            parts.append(latents)
    return torch.cat(parts)


def encode_with_gradients(family: Family, prompts: Sequence[str]) -> TextCondition:
    """`family.encode` outside its no_grad, so that gradients reach what sits in the text encoder's input."""
    condition: TextCondition = inspect.unwrap(type(family).encode)(family, prompts)
    return condition


def _like(values_B: Tensor, latents: Tensor) -> Tensor:
    return values_B.to(latents).view(-1, *[1] * (latents.dim() - 1))
