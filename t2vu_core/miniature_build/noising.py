"""What a denoiser of the miniatures is trained on: noisy latents, and the error of the velocity that it predicts."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Stratified over 0..999; a third is drawn to the middle, a third to the end, where words alone say what goes where."""
    uniform = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    middle = torch.special.ndtr(torch.special.ndtri(uniform.clamp(1e-4, 1 - 1e-4)) * 0.7 + 0.3)
    end = 0.85 + 0.15 * uniform
    mixed = torch.stack([uniform, middle, end])[torch.arange(count) % 3, torch.arange(count)]
    return (mixed * 1000).long().clamp(0, 999)


def noised(latents: Tensor, generator: torch.Generator, alphas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (B, ...) -> noisy ones, timesteps (B,), and the velocity alpha noise - sigma latents (arXiv 2202.00512)."""
    timesteps = draw_timesteps(len(latents), generator)
    noise = torch.randn(latents.shape, generator=generator)
    shape = (-1, *(1,) * (latents.ndim - 1))
    alpha, sigma = alphas[timesteps].sqrt().view(shape), (1 - alphas[timesteps]).sqrt().view(shape)
    return alpha * latents + sigma * noise, timesteps, alpha * noise - sigma * latents


def weighted_error(predicted: Tensor, velocity: Tensor, weights: Tensor) -> Tensor:
    """Mean squared error of the velocity, in float32; subjects count more."""
    return (weights.float() * (predicted.float() - velocity).square()).mean()
