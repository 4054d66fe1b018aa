"""Shared by UNets for images and clips: schedulers, cross-attentions, decoding, gradient checkpointing.

Shapes: B clips, F frames, C channels, H and W rows and columns of latents. A UNet processes frames as images: inside,
(B, F) are the rows of one batch, and each resolution has its own number of tokens.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
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

from t2vu_core.families.base import Family
from t2vu_core.families.clip_size import ClipSize
from t2vu_core.families.eraser_site import EraserSite, edit_whole
from t2vu_core.families.spelling import concept_tokens, token_pieces
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.quiet import quiet_libraries

KEPT_SCHEDULERS = (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
"""These start from unscaled noise, do not scale latents and draw no noise in a step: a seed determines the clip."""

PIPELINE_UNIT = 8
"""The stock pipelines require multiples of 8 pixels for every VAE."""

SMALL_PIXELS = 128


class UNetFamily(Family):
    """A UNet that processes frames as images. Latents are (B, C, F, H, W).

    The erasers follow the cross-attention (`attn2`) of every spatial transformer block, as in Receler (arXiv 2311.17717)
    for image UNets: its output is the text's effect on each image token. They get (B * F, N, width): the frames of a clip
    are rows of the batch.
    """

    @property
    def denoisers(self) -> dict[str, Any]:
        return {"unet": self.pipeline.unet}

    @quiet_libraries()
    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextCondition:
        embeds, _ = self.pipeline.encode_prompt(
            list(prompts), self.pipeline.text_encoder.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return TextCondition(embeds).to(self.device)

    def latent_shape(self, size: ClipSize) -> tuple[int, ...]:
        return (self.pipeline.unet.config.in_channels, *self.token_grid(size))

    def token_grid(self, size: ClipSize) -> tuple[int, int, int]:
        ratio = self.pipeline.vae_scale_factor
        return size.num_frames, size.height // ratio, size.width // ratio

    def site_grid(self, site: EraserSite, size: ClipSize) -> tuple[int, int, int]:
        frames, rows, columns = self.token_grid(size)
        scale = 2 ** _level(site.name, len(self.pipeline.unet.down_blocks))
        return frames, -(-rows // scale), -(-columns // scale)

    def make_scheduler(self, num_inference_steps: int, size: ClipSize) -> Any:
        return make_unet_scheduler(self.pipeline.scheduler, num_inference_steps, self.device)

    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition, size: ClipSize) -> Tensor:
        text = self.text_rows(condition.embeds_BSD.to(self.dtype), latents.shape[2])
        return self.pipeline.unet(latents.to(self.dtype), timesteps_B, encoder_hidden_states=text, return_dict=False)[0].float()

    def text_rows(self, embeds_BSD: Tensor, num_frames: int) -> Tensor:
        """The text as the UNet takes it: once per clip, or once per frame."""
        return embeds_BSD

    @torch.no_grad()
    def decode(self, latents: Tensor, size: ClipSize) -> Tensor:
        frames = latents.transpose(1, 2)
        return to_pixels(self.pipeline.vae, frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    @torch.no_grad()
    def latents_of(self, clips: Tensor, size: ClipSize) -> Tensor:
        latents = to_latents(self.pipeline.vae, clips.flatten(0, 1).to(self.device))
        return latents.unflatten(0, clips.shape[:2]).transpose(1, 2)

    def eraser_sites(self) -> list[EraserSite]:
        return [
            EraserSite(f"{name}.attn2", block.attn2, block.attn2.out_dim, edit_whole)
            for name, block in spatial_blocks(self.pipeline.unet)
        ]

    def token_pieces(self, prompt: str) -> list[str]:
        tokenizer = self.pipeline.tokenizer
        return token_pieces(tokenizer, prompt, max_length=tokenizer.model_max_length)

    def concept_positions(self, prompt: str, concept: str) -> list[int]:
        tokenizer = self.pipeline.tokenizer
        return concept_tokens(tokenizer, prompt, concept, max_length=tokenizer.model_max_length)


def _level(name: str, num_blocks: int) -> int:
    """How often the resolution was halved before a module of a UNet."""
    part, index = name.split(".")[:2]
    if part == "mid_block":
        return num_blocks - 1
    return int(index) if part == "down_blocks" else num_blocks - 1 - int(index)


def make_unet_scheduler(scheduler: Any, num_inference_steps: int, device: torch.device) -> Any:
    """A new scheduler with its timesteps set; DDIM on the same noise schedule if the model's own is not kept.

    DDIM's default clips latents to [-1, 1], which suits only pixels: here it clips only if the settings say so.
    """
    algorithm = str(scheduler.config.get("algorithm_type", ""))
    if type(scheduler) in KEPT_SCHEDULERS and not algorithm.startswith("sde"):
        fresh = type(scheduler).from_config(scheduler.config)
    else:
        fresh = DDIMScheduler.from_config(scheduler.config, clip_sample=scheduler.config.get("clip_sample", False))
    fresh.set_timesteps(num_inference_steps, device=device)
    return fresh


def own_pixels(pipeline: Any) -> tuple[int, int]:
    """Height and width in pixels that the UNet was trained for."""
    sample_size, ratio = pipeline.unet.config.sample_size, pipeline.vae_scale_factor
    height, width = (sample_size, sample_size) if isinstance(sample_size, int) else sample_size
    return height * ratio, width * ratio


def small(pipeline: Any) -> bool:
    """Whether the model makes thumbnails only, as the miniature does."""
    return max(own_pixels(pipeline)) < SMALL_PIXELS


def spatial_blocks(unet: nn.Module) -> Iterator[tuple[str, Any]]:
    """The transformer blocks in which image tokens attend to each other and to the text, by name.

    Temporal blocks (`motion_modules`, `temp_attentions`, `transformer_in`) read no text.
    """
    for name, module in unet.named_modules():
        if isinstance(module, BasicTransformerBlock) and "attentions" in name.split("."):
            yield name, module


def to_pixels(vae: Any, latents_BCHW: Tensor) -> Tensor:
    """Scaled latents of images -> images (B, 3, H, W) in [0, 1], float32, a few at a time."""
    latents = (latents_BCHW / vae.config.scaling_factor).to(vae.dtype)
    images = torch.cat([vae.decode(part, return_dict=False)[0] for part in latents.split(16)])
    return (images.float() / 2 + 0.5).clamp(0, 1)


def to_latents(vae: Any, images_BCHW: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] -> scaled latents, float32: the mean of the VAE's posterior."""
    pixels = (images_BCHW * 2 - 1).to(vae.dtype)
    latents = torch.cat([vae.encode(part).latent_dist.mode() for part in pixels.split(16)])
    return latents.float() * vae.config.scaling_factor


@contextlib.contextmanager
def checkpointed(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Inside this context, these modules recompute their activations in the backward pass instead of storing them.

    For UNets whose own gradient checkpointing is partial or missing. Hooks inside the modules run again too.
    """
    changed = [module for module in modules if "forward" not in vars(module)]
    try:
        for module in changed:
            module.forward = functools.partial(checkpoint, module.forward, use_reentrant=False)
        yield
    finally:
        for module in changed:
            vars(module).pop("forward", None)
