"""Wan 2.1 and 2.2 (arXiv 2503.20314): text by cross-attention, flow velocity, UMT5.

As in PROBE's port of T2VUnlearning (arXiv 2603.21547), the erasers follow the cross-attention of every block: its output
is the text's effect on each video token, and text tokens do not pass through it. Wan 2.2 A14B has two denoisers,
`transformer` for timesteps down to `boundary_ratio` and `transformer_2` for the rest; both have erasers, and the sites of
the second start with `transformer_2.`. Wan 2.2 TI2V 5B has one timestep per token (`expand_timesteps`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.families.base import Family, channel_statistics
from t2vu_core.families.clip_size import ClipSize, SamplingDefaults, check_grid
from t2vu_core.families.eraser_site import EraserSite, edit_whole
from t2vu_core.families.spelling import concept_tokens, token_pieces
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.quiet import quiet_libraries

MAX_TEXT_TOKENS = 512
PIPELINE_UNIT = 16
"""The stock pipeline requires multiples of 16 pixels for every patch size."""


class Wan(Family):
    """Latents are (B, C, F, H, W)."""

    name: ClassVar[str] = "wan"
    pipeline_classes: ClassVar[tuple[str, ...]] = ("WanPipeline",)

    def __init__(self, pipeline: DiffusionPipeline, folder: Path | None = None) -> None:
        _check_prompts_can_be_cleaned()
        super().__init__(pipeline, folder)

    @property
    def denoisers(self) -> dict[str, Any]:
        names = ("transformer", "transformer_2")
        return {name: getattr(self.pipeline, name) for name in names if getattr(self.pipeline, name) is not None}

    @property
    def _config(self) -> Any:
        return next(iter(self.denoisers.values())).config

    @property
    def defaults(self) -> SamplingDefaults:
        if self.pipeline.config.expand_timesteps:
            return SamplingDefaults(ClipSize(121, 704, 1280), 50, 5.0, 24)
        return SamplingDefaults(ClipSize(81, 480, 832), 50, 5.0, 16)

    def check_size(self, size: ClipSize) -> None:
        _, rows, columns = self._config.patch_size
        unit = math.lcm(PIPELINE_UNIT, self.pipeline.vae_scale_factor_spatial * math.lcm(rows, columns))
        check_grid("Wan", size, self.defaults.size, unit=unit, ratio=self.pipeline.vae_scale_factor_temporal)

    @quiet_libraries()
    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextCondition:
        embeds, _ = self.pipeline.encode_prompt(
            list(prompts),
            do_classifier_free_guidance=False,
            max_sequence_length=MAX_TEXT_TOKENS,
            device=self.pipeline.text_encoder.device,
        )
        return TextCondition(embeds).to(self.device)

    def latent_shape(self, size: ClipSize) -> tuple[int, ...]:
        ratio = self.pipeline.vae_scale_factor_spatial
        frames = (size.num_frames - 1) // self.pipeline.vae_scale_factor_temporal + 1
        return (self._config.in_channels, frames, size.height // ratio, size.width // ratio)

    def token_grid(self, size: ClipSize) -> tuple[int, int, int]:
        _, frames, height, width = self.latent_shape(size)
        patch = self._config.patch_size
        return frames // patch[0], height // patch[1], width // patch[2]

    def make_scheduler(self, num_inference_steps: int, size: ClipSize) -> Any:
        scheduler = type(self.pipeline.scheduler).from_config(self.pipeline.scheduler.config)
        scheduler.set_timesteps(num_inference_steps, device=self.device)
        scheduler.set_begin_index(0)
        return scheduler

    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition, size: ClipSize) -> Tensor:
        if self.pipeline.config.boundary_ratio is None:
            return self._predict(next(iter(self.denoisers.values())), latents, timesteps_B, condition, size)
        # Training batches mix timesteps: each row goes to the denoiser of its timestep.
        noisy = self._noisy(timesteps_B)
        prediction = torch.empty(latents.shape, dtype=torch.float32, device=latents.device)
        for name, rows in (("transformer", noisy), ("transformer_2", ~noisy)):
            if not self.any_rank(bool(rows.any())):
                continue
            own = rows.nonzero().flatten()
            # A sharded denoiser computes only in all processes at once: one without rows computes a row and discards it.
            asked = own if len(own) else own.new_zeros(1)
            part = self._predict(self.denoisers[name], latents[asked], timesteps_B[asked], condition[asked], size)
            prediction = prediction.index_put((own,), part[: len(own)])
        return prediction

    def passes(self, site_name: str, timesteps_B: Tensor) -> Tensor:
        if self.pipeline.config.boundary_ratio is None:
            return super().passes(site_name, timesteps_B)
        noisy = self._noisy(timesteps_B)
        return ~noisy if site_name.startswith("transformer_2.") else noisy

    def _noisy(self, timesteps_B: Tensor) -> Tensor:
        """Which rows belong to the first denoiser."""
        boundary: float = self.pipeline.config.boundary_ratio * self.pipeline.scheduler.config.num_train_timesteps
        return timesteps_B >= boundary

    def _predict(self, denoiser: Any, latents: Tensor, timesteps_B: Tensor, condition: TextCondition, size: ClipSize) -> Tensor:
        if self.pipeline.config.expand_timesteps:
            timesteps_B = timesteps_B[:, None].expand(-1, math.prod(self.token_grid(size)))
        return denoiser(
            hidden_states=latents.to(self.dtype),
            timestep=timesteps_B,
            encoder_hidden_states=condition.embeds_BSD.to(self.dtype),
            return_dict=False,
        )[0].float()

    @torch.no_grad()
    def decode(self, latents: Tensor, size: ClipSize) -> Tensor:
        vae = self.pipeline.vae
        latents = latents.to(vae.dtype)
        mean, std = channel_statistics(vae, latents)
        video = vae.decode(latents * std + mean, return_dict=False)[0]
        return (video.float().transpose(1, 2) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def latents_of(self, clips: Tensor, size: ClipSize) -> Tensor:
        vae = self.pipeline.vae
        latents = vae.encode((clips.transpose(1, 2) * 2 - 1).to(self.device, vae.dtype)).latent_dist.mode().float()
        mean, std = channel_statistics(vae, latents)
        return (latents - mean) / std

    def eraser_sites(self) -> list[EraserSite]:
        width = self._config.num_attention_heads * self._config.attention_head_dim
        return [
            EraserSite(f"{prefix}blocks.{index}.attn2", block.attn2, width, edit_whole)
            for prefix, denoiser in self.prefixed_denoisers()
            for index, block in enumerate(denoiser.blocks)
        ]

    def token_pieces(self, prompt: str) -> list[str]:
        return token_pieces(self.pipeline.tokenizer, prompt_clean(prompt), max_length=MAX_TEXT_TOKENS)

    def concept_positions(self, prompt: str, concept: str) -> list[int]:
        return concept_tokens(self.pipeline.tokenizer, prompt_clean(prompt), concept, max_length=MAX_TEXT_TOKENS)


def _check_prompts_can_be_cleaned() -> None:
    """Older diffusers call ftfy for every prompt, whether it is installed or not."""
    try:
        prompt_clean("")
    except NameError as error:
        raise UserError(
            f"diffusers {diffusers.__version__} needs the package ftfy for Wan: pip install ftfy, or install a newer diffusers."
        ) from error
