"""Training of the miniature's video VAE on renders."""

from __future__ import annotations

import logging
import time

import torch
from diffusers import AutoencoderKLLTXVideo
from torch import Tensor

from t2vu_core.miniature.world import render, sample_labels
from t2vu_core.miniature_build.averaging import MovingAverage
from t2vu_core.mixed_precision import CPU, mixed_precision

log = logging.getLogger(__name__)

KL_WEIGHT = 1e-4


def reconstruction_loss(pixels_BCFHW: Tensor, drawn_BCFHW: Tensor) -> Tensor:
    """L1 + squared error, and L1 of the spatial differences so that edges stay clean."""
    error = drawn_BCFHW - pixels_BCFHW
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + 0.5 * error.square().mean() + 0.5 * edges


def train_vae(vae: AutoencoderKLLTXVideo, *, minutes: float, seed: int, batch_size: int = 8, lr: float = 0.03) -> None:
    """Train in place for a time budget; the weights left behind are the moving average.

    Every weight's step is `lr` over its fan-in: Adam's equal steps would add up over thousands of
    inputs and wreck the linear start.
    """
    generator = torch.Generator().manual_seed(seed)
    pool = render(sample_labels(4000, generator, distractors=0.05), generator).to(torch.bfloat16)
    groups = [{"params": [weight], "peak": lr / max(64, weight[0].numel())} for weight in vae.parameters()]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    average = MovingAverage(vae.parameters(), decay=0.995)
    start, step = time.monotonic(), 0
    while (done := (time.monotonic() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * min(1, (step + 1) / 50) * max(0.01, min(1, (1 - done) / 0.7))
        pixels = pool[torch.randint(0, len(pool), (batch_size,), generator=generator)].float().transpose(1, 2)
        with mixed_precision(CPU):
            posterior = vae.encode(pixels).latent_dist
            drawn = vae.decode(posterior.sample()).sample
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss = reconstruction_loss(pixels, drawn.float()) + KL_WEIGHT * divergence
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        average.update()
        if step % 50 == 0:
            log.info("vae step %d: loss %.4f, %.0f s", step, loss.item(), time.monotonic() - start)
        step += 1
    average.copy_to_parameters()
    log.info("vae: %d steps", step)


@torch.no_grad()
def reconstruction_error(vae: AutoencoderKLLTXVideo, clips_BFCHW: Tensor) -> float:
    """Mean squared error of encoding and decoding, pixels in [-1, 1]."""
    pixels = clips_BFCHW.transpose(1, 2)
    return (vae.decode(vae.encode(pixels).latent_dist.mode()).sample - pixels).square().mean().item()
