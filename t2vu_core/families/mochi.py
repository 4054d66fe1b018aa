"""Mochi 1 (Genmo, 2024): asymmetric joint transformer, flow velocity, T5.

Each block has one joint attention with separate projections for text and video; padding tokens of the text are left
out. Time runs from 0 to 1000 towards the clip (the scheduler's `invert_sigmas`). As in the paper's CogVideoX
(arXiv 2505.17550), the erasers follow the attention (`attn1`) of every block and change its video half.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.pipelines.mochi.pipeline_mochi import linear_quadratic_schedule
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.families.base import Family, channel_statistics
from t2vu_core.families.clip_size import ClipSize, SamplingDefaults, check_grid
from t2vu_core.families.eraser_site import EraserSite, edit_video
from t2vu_core.families.spelling import concept_tokens, token_pieces
from t2vu_core.families.text_attention import TextKeys
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.quiet import quiet_libraries

MAX_TEXT_TOKENS = 256
THRESHOLD_NOISE = 0.025


class Mochi(Family):
    """Latents are (B, C, F, H, W)."""

    name: ClassVar[str] = "mochi"
    pipeline_classes: ClassVar[tuple[str, ...]] = ("MochiPipeline",)
    text_keys: ClassVar[TextKeys] = "after_video"

    @property
    def _config(self) -> Any:
        return self.pipeline.transformer.config

    @property
    def defaults(self) -> SamplingDefaults:
        return SamplingDefaults(ClipSize(85, 480, 848), 64, 4.5, 30)

    def check_size(self, size: ClipSize) -> None:
        unit = self.pipeline.vae_spatial_scale_factor * self._config.patch_size
        check_grid("Mochi", size, self.defaults.size, unit=unit, ratio=self.pipeline.vae_temporal_scale_factor)

    @quiet_libraries()
    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextCondition:
        # If one prompt is empty, the stock pipeline blanks the whole batch: each prompt is encoded alone.
        return TextCondition.cat([self._encode(prompt) for prompt in prompts])

    def _encode(self, prompt: str) -> TextCondition:
        embeds, mask, _, _ = self.pipeline.encode_prompt(
            [prompt],
            do_classifier_free_guidance=False,
            max_sequence_length=MAX_TEXT_TOKENS,
            device=self.pipeline.text_encoder.device,
        )
        return TextCondition(embeds, mask).to(self.device)

    def latent_shape(self, size: ClipSize) -> tuple[int, ...]:
        ratio = self.pipeline.vae_spatial_scale_factor
        frames = (size.num_frames - 1) // self.pipeline.vae_temporal_scale_factor + 1
        return (self._config.in_channels, frames, size.height // ratio, size.width // ratio)

    def token_grid(self, size: ClipSize) -> tuple[int, int, int]:
        _, frames, height, width = self.latent_shape(size)
        return frames, height // self._config.patch_size, width // self._config.patch_size

    def make_scheduler(self, num_inference_steps: int, size: ClipSize) -> Any:
        if num_inference_steps < 2:
            raise UserError("Mochi's schedule has a linear and a quadratic half: it needs at least 2 steps.")
        scheduler = type(self.pipeline.scheduler).from_config(self.pipeline.scheduler.config)
        sigmas = np.array(linear_quadratic_schedule(num_inference_steps, THRESHOLD_NOISE))
        scheduler.set_timesteps(sigmas=sigmas, device=self.device)
        scheduler.set_begin_index(0)
        return scheduler

    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition, size: ClipSize) -> Tensor:
        return self.pipeline.transformer(
            hidden_states=latents.to(self.dtype),
            encoder_hidden_states=condition.embeds_BSD.to(self.dtype),
            timestep=timesteps_B.to(self.dtype),
            encoder_attention_mask=condition.mask_BS,
            return_dict=False,
        )[0].float()

    @torch.no_grad()
    def decode(self, latents: Tensor, size: ClipSize) -> Tensor:
        vae = self.pipeline.vae
        latents = latents.to(vae.dtype)
        if vae.config.latents_mean is None or vae.config.latents_std is None:
            latents = latents / vae.config.scaling_factor
        else:
            mean, std = channel_statistics(vae, latents)
            latents = latents * std / vae.config.scaling_factor + mean
        video = vae.decode(latents, return_dict=False)[0]
        return (video.float().transpose(1, 2) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def latents_of(self, clips: Tensor, size: ClipSize) -> Tensor:
        vae = self.pipeline.vae
        latents = vae.encode((clips.transpose(1, 2) * 2 - 1).to(self.device, vae.dtype)).latent_dist.mode().float()
        if vae.config.latents_mean is None or vae.config.latents_std is None:
            return latents * vae.config.scaling_factor
        mean, std = channel_statistics(vae, latents)
        return (latents - mean) * vae.config.scaling_factor / std

    def eraser_sites(self) -> list[EraserSite]:
        blocks = self.pipeline.transformer.transformer_blocks
        return [
            EraserSite(f"transformer_blocks.{index}.attn1", block.attn1, block.attn1.out_dim, edit_video)
            for index, block in enumerate(blocks)
        ]

    def token_pieces(self, prompt: str) -> list[str]:
        return token_pieces(self.pipeline.tokenizer, prompt, max_length=MAX_TEXT_TOKENS)

    def concept_positions(self, prompt: str, concept: str) -> list[int]:
        return concept_tokens(self.pipeline.tokenizer, prompt, concept, max_length=MAX_TEXT_TOKENS)
