"""CogVideoX (2B and 5B forms, and the miniature): joint text-video transformer, v-prediction, T5."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.families.base import (
    ClipSize,
    EraserSite,
    Family,
    SamplingDefaults,
    TextCondition,
    positions_of,
)


class CogVideoX(Family):
    """Latents are (B, F, C, H, W). Text tokens come first in the joint sequence; erasers see only video."""

    name: ClassVar[str] = "cogvideox"
    pipeline_classes: ClassVar[tuple[str, ...]] = ("CogVideoXPipeline",)

    @property
    def _config(self) -> Any:
        return self.pipeline.transformer.config

    @property
    def _temporal_ratio(self) -> int:
        return self.pipeline.vae_scale_factor_temporal

    @property
    def _spatial_ratio(self) -> int:
        return self.pipeline.vae_scale_factor_spatial

    @property
    def defaults(self) -> SamplingDefaults:
        size = ClipSize(
            num_frames=self._config.sample_frames,
            height=self._config.sample_height * self._spatial_ratio,
            width=self._config.sample_width * self._spatial_ratio,
        )
        small = size.height * size.width < 128 * 128
        return SamplingDefaults(size, 25 if small else 50, 4.0 if small else 6.0, 8)

    def check_size(self, size: ClipSize) -> None:
        unit, ratio, own = self._spatial_ratio * self._config.patch_size, self._temporal_ratio, self.defaults.size
        if size.height % unit or size.width % unit or min(size.height, size.width) < unit:
            raise UserError(
                f"CogVideoX cannot make {size.width} x {size.height} pixels: width and height must be multiples of "
                f"{unit}, for example {own.width} x {own.height}."
            )
        if size.num_frames < 1 or (size.num_frames - 1) % ratio:
            below = max(1, (size.num_frames - 1) // ratio * ratio + 1)
            raise UserError(
                f"CogVideoX cannot make {size.num_frames} frames: it makes {ratio} k + 1, "
                f"for example {below} or {below + ratio}."
            )
        fixed_positions = not self._config.use_rotary_positional_embeddings
        if fixed_positions and (size.height > own.height or size.width > own.width or size.num_frames > own.num_frames):
            raise UserError(
                f"This model was trained for clips up to {own.width} x {own.height} pixels and {own.num_frames} frames; "
                f"{size.width} x {size.height} x {size.num_frames} is larger. Ask for that size or less."
            )

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextCondition:
        embeds, _ = self.pipeline.encode_prompt(
            list(prompts),
            do_classifier_free_guidance=False,
            max_sequence_length=self._config.max_text_seq_length,
            device=self.pipeline.text_encoder.device,
        )
        return TextCondition(embeds.to(self.device))

    def latent_shape(self, size: ClipSize) -> tuple[int, ...]:
        frames = (size.num_frames - 1) // self._temporal_ratio + 1
        frames += -frames % (self._config.patch_size_t or 1)
        return (frames, self._config.in_channels, size.height // self._spatial_ratio, size.width // self._spatial_ratio)

    def make_scheduler(self, num_inference_steps: int, size: ClipSize) -> Any:
        scheduler = type(self.pipeline.scheduler).from_config(self.pipeline.scheduler.config)
        scheduler.set_timesteps(num_inference_steps, device=self.device)
        return scheduler

    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition, size: ClipSize) -> Tensor:
        rotary = None
        if self._config.use_rotary_positional_embeddings:
            rotary = self.pipeline._prepare_rotary_positional_embeddings(
                size.height, size.width, latents.shape[1], latents.device
            )
        return self.pipeline.transformer(
            hidden_states=latents.to(self.dtype),
            encoder_hidden_states=condition.embeds_BSD.to(self.dtype),
            timestep=timesteps_B,
            image_rotary_emb=rotary,
            return_dict=False,
        )[0].float()

    @torch.no_grad()
    def decode(self, latents: Tensor, size: ClipSize) -> Tensor:
        padding = latents.shape[1] - ((size.num_frames - 1) // self._temporal_ratio + 1)
        vae = self.pipeline.vae
        video = self.pipeline.decode_latents(latents[:, padding:].to(vae.dtype))
        return (video.float().transpose(1, 2) / 2 + 0.5).clamp(0, 1)

    def eraser_sites(self) -> list[EraserSite]:
        blocks = self.pipeline.transformer.transformer_blocks
        width = self._config.num_attention_heads * self._config.attention_head_dim
        return [
            EraserSite(f"transformer_blocks.{index}.attn1", block.attn1, width, _edit_video)
            for index, block in enumerate(blocks)
        ]

    def concept_positions(self, prompt: str, concept: str) -> list[int]:
        tokenizer = self.pipeline.tokenizer
        length = self._config.max_text_seq_length
        ids = tokenizer(prompt, truncation=True, max_length=length).input_ids
        return positions_of(tokenizer, ids, concept)


def _edit_video(output: tuple[Tensor, Tensor], change: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The joint attention returns (video, text)."""
    video, text = output
    return change(video), text
