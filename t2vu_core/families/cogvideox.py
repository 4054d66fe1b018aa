"""CogVideoX 2B, 5B and 1.5, and the miniature (arXiv 2408.06072): joint text-video transformer, v-prediction, T5.

2B has fixed sinusoidal positions and therefore a maximum clip size; 5B uses rotary embeddings; 1.5 combines two latent
frames into one token and drops the padding before decoding. Each block has one joint attention over text and video with
shared projections. The paper's erasers (arXiv 2505.17550) follow it in every block and change only its video half. A LoRA
on those projections also changes the text tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.families.base import Family
from t2vu_core.families.clip_size import ClipSize, SamplingDefaults, check_grid
from t2vu_core.families.eraser_site import EraserSite, edit_video
from t2vu_core.families.spelling import concept_tokens, token_pieces
from t2vu_core.families.text_attention import TextKeys
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.quiet import quiet_libraries


class CogVideoX(Family):
    """Latents are (B, F, C, H, W). Text tokens come first in the joint sequence; erasers get only video tokens."""

    name: ClassVar[str] = "cogvideox"
    pipeline_classes: ClassVar[tuple[str, ...]] = ("CogVideoXPipeline",)
    text_keys: ClassVar[TextKeys] = "before_video"
    channel_axis: ClassVar[int] = 2

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
        own = self.defaults.size
        # CogVideoX's own VAE decodes latent frames in pairs after the first: other counts give extra frames.
        ratio = self._temporal_ratio * getattr(self.pipeline.vae, "num_latent_frames_batch_size", 1)
        check_grid("CogVideoX", size, own, unit=self._spatial_ratio * self._config.patch_size, ratio=ratio)
        fixed_positions = not self._config.use_rotary_positional_embeddings
        if fixed_positions and (size.height > own.height or size.width > own.width or size.num_frames > own.num_frames):
            raise UserError(
                f"This model was trained for clips up to {own.width} x {own.height} pixels and {own.num_frames} frames; "
                f"{size.width} x {size.height} x {size.num_frames} is larger. Choose that size or a smaller one."
            )

    @quiet_libraries()
    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextCondition:
        embeds, _ = self.pipeline.encode_prompt(
            list(prompts),
            do_classifier_free_guidance=False,
            max_sequence_length=self._config.max_text_seq_length,
            device=self.pipeline.text_encoder.device,
        )
        return TextCondition(embeds).to(self.device)

    def latent_shape(self, size: ClipSize) -> tuple[int, ...]:
        frames = (size.num_frames - 1) // self._temporal_ratio + 1
        frames += -frames % (self._config.patch_size_t or 1)
        return (frames, self._config.in_channels, size.height // self._spatial_ratio, size.width // self._spatial_ratio)

    def token_grid(self, size: ClipSize) -> tuple[int, int, int]:
        frames, _, height, width = self.latent_shape(size)
        patch, frames_a_token = self._config.patch_size, self._config.patch_size_t or 1
        return frames // frames_a_token, height // patch, width // patch

    def make_scheduler(self, num_inference_steps: int, size: ClipSize) -> Any:
        kind = type(self.pipeline.scheduler)
        # The DPM scheduler draws new noise in every step; with DDIM on the same schedule, a seed determines the clip.
        kind = CogVideoXDDIMScheduler if kind is CogVideoXDPMScheduler else kind
        scheduler = kind.from_config(self.pipeline.scheduler.config)
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

    @torch.no_grad()
    def latents_of(self, clips: Tensor, size: ClipSize) -> Tensor:
        vae = self.pipeline.vae
        encoded = vae.encode((clips.transpose(1, 2) * 2 - 1).to(self.device, vae.dtype)).latent_dist.mode()
        latents = encoded.float().transpose(1, 2) * self.pipeline.vae_scaling_factor_image
        padding = self.latent_shape(size)[0] - latents.shape[1]
        return torch.cat([latents[:, :1].repeat(1, padding, 1, 1, 1), latents], dim=1)

    def eraser_sites(self) -> list[EraserSite]:
        blocks = self.pipeline.transformer.transformer_blocks
        width = self._config.num_attention_heads * self._config.attention_head_dim
        return [
            EraserSite(f"transformer_blocks.{index}.attn1", block.attn1, width, edit_video)
            for index, block in enumerate(blocks)
        ]

    def token_pieces(self, prompt: str) -> list[str]:
        return token_pieces(self.pipeline.tokenizer, prompt, max_length=self._config.max_text_seq_length)

    def concept_positions(self, prompt: str, concept: str) -> list[int]:
        return concept_tokens(self.pipeline.tokenizer, prompt, concept, max_length=self._config.max_text_seq_length)
