"""LTX-Video (arXiv 2501.00103): one token per latent pixel, text by cross-attention, flow velocity, T5.

The denoiser takes latents packed into a token sequence, with positions in seconds and pixels. As in Wan, the erasers
follow the cross-attention (`attn2`) of every block: its output is the text's effect on each video token, and text tokens
do not pass through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.families.base import Family
from t2vu_core.families.clip_size import ClipSize, SamplingDefaults, check_grid
from t2vu_core.families.eraser_site import EraserSite, edit_whole
from t2vu_core.families.spelling import concept_tokens, token_pieces
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.quiet import quiet_libraries

MAX_TEXT_TOKENS = 128
FPS = 25
PIPELINE_UNIT = 32
"""The stock pipeline takes multiples of 32 pixels only."""
OWN_RATIO = 32
"""Pixels of LTX-Video's own VAE per latent, each way; only the miniature's has fewer."""


class LTX(Family):
    """Latents are (B, C, F, H, W); they are packed for the denoiser alone."""

    name: ClassVar[str] = "ltx"
    pipeline_classes: ClassVar[tuple[str, ...]] = ("LTXPipeline",)
    max_text_tokens: ClassVar[int] = MAX_TEXT_TOKENS

    @property
    def _patches(self) -> tuple[int, int]:
        return self.pipeline.transformer_spatial_patch_size, self.pipeline.transformer_temporal_patch_size

    @property
    def defaults(self) -> SamplingDefaults:
        pixels = self.pipeline.vae_spatial_compression_ratio
        if pixels < OWN_RATIO:
            frames = 4 * self.pipeline.vae_temporal_compression_ratio + 1
            return SamplingDefaults(ClipSize(frames, 4 * pixels, 4 * pixels), 20, 3.0, 8)
        return SamplingDefaults(ClipSize(161, 512, 704), 50, 3.0, FPS)

    def check_size(self, size: ClipSize) -> None:
        ratio = self.pipeline.vae_temporal_compression_ratio
        check_grid("LTX-Video", size, self.defaults.size, unit=PIPELINE_UNIT, ratio=ratio)

    @quiet_libraries()
    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextCondition:
        embeds, mask, _, _ = self.pipeline.encode_prompt(
            list(prompts),
            do_classifier_free_guidance=False,
            max_sequence_length=self.max_text_tokens,
            device=self.pipeline.text_encoder.device,
        )
        return TextCondition(embeds, mask).to(self.device)

    def latent_shape(self, size: ClipSize) -> tuple[int, ...]:
        ratio = self.pipeline.vae_spatial_compression_ratio
        frames = (size.num_frames - 1) // self.pipeline.vae_temporal_compression_ratio + 1
        channels = self.pipeline.transformer.config.in_channels
        return (channels, frames, size.height // ratio, size.width // ratio)

    def token_grid(self, size: ClipSize) -> tuple[int, int, int]:
        _, frames, height, width = self.latent_shape(size)
        patch, frames_a_token = self._patches
        return frames // frames_a_token, height // patch, width // patch

    def make_scheduler(self, num_inference_steps: int, size: ClipSize) -> Any:
        scheduler = type(self.pipeline.scheduler).from_config(self.pipeline.scheduler.config)
        _, frames, height, width = self.latent_shape(size)
        config = scheduler.config
        if num_inference_steps < 2 and config.get("shift_terminal"):
            raise UserError("LTX-Video's schedule is stretched between its first and its last step: it needs at least 2 steps.")
        shift = calculate_shift(
            frames * height * width,
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
        sigmas = np.linspace(1.0, 1 / num_inference_steps, num_inference_steps)
        scheduler.set_timesteps(sigmas=sigmas, mu=shift, device=self.device)
        return scheduler

    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition, size: ClipSize) -> Tensor:
        _, frames, height, width = self.latent_shape(size)
        packed = self.pipeline.transformer(
            hidden_states=self.pipeline._pack_latents(latents.to(self.dtype), *self._patches),
            encoder_hidden_states=condition.embeds_BSD.to(self.dtype),
            timestep=timesteps_B,
            encoder_attention_mask=condition.mask_BS,
            num_frames=frames,
            height=height,
            width=width,
            **self._positions(latents, size),
            return_dict=False,
        )[0].float()
        return self.pipeline._unpack_latents(packed, *self.token_grid(size), *self._patches)

    def _positions(self, latents: Tensor, size: ClipSize) -> dict[str, Any]:
        """Where the tokens are, in seconds and pixels, as the denoiser's arguments."""
        spatial = self.pipeline.vae_spatial_compression_ratio
        return {"rope_interpolation_scale": (self.pipeline.vae_temporal_compression_ratio / FPS, spatial, spatial)}

    @torch.no_grad()
    def decode(self, latents: Tensor, size: ClipSize) -> Tensor:
        vae = self.pipeline.vae
        latents = self.pipeline._denormalize_latents(latents, vae.latents_mean, vae.latents_std, vae.config.scaling_factor).to(
            vae.dtype
        )
        timestep = latents.new_zeros(len(latents)) if vae.config.timestep_conditioning else None
        video = vae.decode(latents, timestep, return_dict=False)[0]
        return (video.float().transpose(1, 2) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def latents_of(self, clips: Tensor, size: ClipSize) -> Tensor:
        vae = self.pipeline.vae
        latents = vae.encode((clips.transpose(1, 2) * 2 - 1).to(self.device, vae.dtype)).latent_dist.mode().float()
        mean, std = (value.to(latents).view(1, -1, 1, 1, 1) for value in (vae.latents_mean, vae.latents_std))
        return (latents - mean) * vae.config.scaling_factor / std

    def eraser_sites(self) -> list[EraserSite]:
        blocks = self.pipeline.transformer.transformer_blocks
        return [
            EraserSite(f"transformer_blocks.{index}.attn2", block.attn2, block.attn2.out_dim, edit_whole)
            for index, block in enumerate(blocks)
        ]

    def token_pieces(self, prompt: str) -> list[str]:
        return token_pieces(self.pipeline.tokenizer, prompt, max_length=self.max_text_tokens)

    def concept_positions(self, prompt: str, concept: str) -> list[int]:
        return concept_tokens(self.pipeline.tokenizer, prompt, concept, max_length=self.max_text_tokens)
