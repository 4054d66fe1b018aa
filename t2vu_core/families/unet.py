"""What the UNets have in common, of images and of clips: schedulers, cross-attentions, decoding, checkpointing.

Shapes: B clips, F frames, C channels, H and W rows and columns of latents. A UNet sees frames as images:
inside, (B, F) are rows of one batch, frame by frame, and every resolution has its own number of tokens.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

KEPT_SCHEDULERS = (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
"""These start from plain noise, take latents as they are and draw nothing on the way: a seed means one clip."""

PIPELINE_UNIT = 8
"""The stock pipelines take multiples of 8 pixels, whatever the VAE's ratio is."""


def make_unet_scheduler(scheduler: Any, num_inference_steps: int, device: torch.device) -> Any:
    """A fresh scheduler with its timesteps set; DDIM on the same noise schedule in place of one that is not kept."""
    algorithm = str(scheduler.config.get("algorithm_type", ""))
    kept = type(scheduler) in KEPT_SCHEDULERS and not algorithm.startswith("sde")
    fresh = (type(scheduler) if kept else DDIMScheduler).from_config(scheduler.config)
    fresh.set_timesteps(num_inference_steps, device=device)
    return fresh


def own_pixels(pipeline: Any) -> tuple[int, int]:
    """Height and width that the UNet was made for."""
    sample_size, ratio = pipeline.unet.config.sample_size, pipeline.vae_scale_factor
    height, width = (sample_size, sample_size) if isinstance(sample_size, int) else sample_size
    return height * ratio, width * ratio


def transformer_blocks(unet: nn.Module) -> Iterator[tuple[str, Any]]:
    """The transformer blocks in which image tokens attend to each other and to the text, with their names.

    Those that look along time (`motion_modules`, `temp_attentions`, `transformer_in`) see no text.
    """
    for name, module in unet.named_modules():
        if isinstance(module, BasicTransformerBlock) and "attentions" in name.split("."):
            yield name, module


def to_pixels(vae: Any, latents_BCHW: Tensor) -> Tensor:
    """Scaled latents of images -> images (B, 3, H, W) in [0, 1], float32, a few at a time."""
    latents = (latents_BCHW / vae.config.scaling_factor).to(vae.dtype)
    images = torch.cat([vae.decode(part, return_dict=False)[0] for part in latents.split(16)])
    return (images.float() / 2 + 0.5).clamp(0, 1)


@contextlib.contextmanager
def checkpointed(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within, these modules keep no activations of their inside and compute it again in the backward pass.

    For UNets whose own gradient checkpointing covers a part of them or nothing at all. Hooks inside the
    modules run again as well.
    """
    changed = [module for module in modules if "forward" not in vars(module)]
    try:
        for module in changed:
            module.forward = functools.partial(checkpoint, module.forward, use_reentrant=False)
        yield
    finally:
        for module in changed:
            vars(module).pop("forward", None)
