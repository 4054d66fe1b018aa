"""HunyuanVideo (arXiv 2412.03603): joint transformer, flow velocity, a Llama encoder and a pooled CLIP encoder.

The model is guidance-distilled: the guidance strength is an input (`embedded_guidance`, 6 as in the stock pipeline). A
`guidance_scale` above 1 adds classifier-free guidance with a negative prompt, the stock pipeline's `true_cfg_scale`. The
prompt is inserted into a chat template, whose first 95 tokens are removed after encoding.

The paper's erasers (arXiv 2505.17550) follow the attention of the single-stream blocks and change its video half, before
the projection that joins it with the feed-forward half; the dual-stream blocks have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from torch import Tensor

from t2vu_core.families.base import Family
from t2vu_core.families.clip_size import ClipSize, SamplingDefaults, check_grid
from t2vu_core.families.eraser_site import EraserSite, edit_video
from t2vu_core.families.spelling import concept_tokens, token_pieces
from t2vu_core.families.text_attention import TextKeys
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.quiet import quiet_libraries

MAX_TEXT_TOKENS = 256
EMBEDDED_GUIDANCE = 6.0
PIPELINE_UNIT = 16
"""The stock pipeline requires multiples of 16 pixels for every patch size."""


class HunyuanVideo(Family):
    """Latents are (B, C, F, H, W). Text tokens come last in the joint sequence."""

    name: ClassVar[str] = "hunyuan_video"
    pipeline_classes: ClassVar[tuple[str, ...]] = ("HunyuanVideoPipeline",)
    text_keys: ClassVar[TextKeys] = "after_video"
    title: ClassVar[str] = "HunyuanVideo"

    @property
    def _config(self) -> Any:
        return self.pipeline.transformer.config

    @property
    def defaults(self) -> SamplingDefaults:
        embedded = EMBEDDED_GUIDANCE if self._config.guidance_embeds else None
        return SamplingDefaults(ClipSize(129, 544, 960), 50, 1.0, 24, embedded)

    def check_size(self, size: ClipSize) -> None:
        unit = max(PIPELINE_UNIT, self.pipeline.vae_scale_factor_spatial * self._config.patch_size)
        ratio = self.pipeline.vae_scale_factor_temporal
        check_grid(self.title, size, self.defaults.size, unit=unit, ratio=ratio)

    @quiet_libraries()
    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextCondition:
        embeds, pooled, mask = self.pipeline.encode_prompt(
            list(prompts), device=self.pipeline.text_encoder.device, max_sequence_length=MAX_TEXT_TOKENS
        )
        return TextCondition(embeds, mask, pooled).to(self.device)

    def latent_shape(self, size: ClipSize) -> tuple[int, ...]:
        ratio = self.pipeline.vae_scale_factor_spatial
        frames = (size.num_frames - 1) // self.pipeline.vae_scale_factor_temporal + 1
        return (self._config.in_channels, frames, size.height // ratio, size.width // ratio)

    def token_grid(self, size: ClipSize) -> tuple[int, int, int]:
        _, frames, height, width = self.latent_shape(size)
        patch = self._config.patch_size
        return frames // self._config.patch_size_t, height // patch, width // patch

    def make_scheduler(self, num_inference_steps: int, size: ClipSize) -> Any:
        scheduler = type(self.pipeline.scheduler).from_config(self.pipeline.scheduler.config)
        sigmas = np.linspace(1.0, 0.0, num_inference_steps + 1)[:-1]
        scheduler.set_timesteps(sigmas=sigmas, device=self.device)
        scheduler.set_begin_index(0)
        return scheduler

    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition, size: ClipSize) -> Tensor:
        assert condition.mask_BS is not None
        assert condition.pooled_BD is not None
        embedded = self.defaults.embedded_guidance
        guidance = None
        if embedded is not None:
            guidance = torch.full((len(latents),), embedded, dtype=self.dtype, device=latents.device) * 1000.0
        return self.pipeline.transformer(
            hidden_states=latents.to(self.dtype),
            timestep=timesteps_B.to(latents.dtype),
            encoder_hidden_states=condition.embeds_BSD.to(self.dtype),
            encoder_attention_mask=condition.mask_BS.to(self.dtype),
            pooled_projections=condition.pooled_BD.to(self.dtype),
            guidance=guidance,
            return_dict=False,
        )[0].float()

    @torch.no_grad()
    def decode(self, latents: Tensor, size: ClipSize) -> Tensor:
        vae = self.pipeline.vae
        video = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0]
        return (video.float().transpose(1, 2) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def latents_of(self, clips: Tensor, size: ClipSize) -> Tensor:
        vae = self.pipeline.vae
        latents = vae.encode((clips.transpose(1, 2) * 2 - 1).to(self.device, vae.dtype)).latent_dist.mode()
        return latents.float() * vae.config.scaling_factor

    def eraser_sites(self) -> list[EraserSite]:
        blocks = self.pipeline.transformer.single_transformer_blocks
        width = self._config.num_attention_heads * self._config.attention_head_dim
        return [
            EraserSite(f"single_transformer_blocks.{index}.attn", block.attn, width, edit_video)
            for index, block in enumerate(blocks)
        ]

    def token_pieces(self, prompt: str) -> list[str]:
        template, crop = DEFAULT_PROMPT_TEMPLATE["template"], DEFAULT_PROMPT_TEMPLATE["crop_start"]
        start, longest = template.index("{}"), MAX_TEXT_TOKENS + crop
        text = template.format(prompt)
        return token_pieces(self.pipeline.tokenizer, text, max_length=longest, span=(start, start + len(prompt)))[crop:]

    def concept_positions(self, prompt: str, concept: str) -> list[int]:
        template, crop = DEFAULT_PROMPT_TEMPLATE["template"], DEFAULT_PROMPT_TEMPLATE["crop_start"]
        start = template.index("{}")
        positions = concept_tokens(
            self.pipeline.tokenizer,
            template.format(prompt),
            concept,
            max_length=MAX_TEXT_TOKENS + crop,
            span=(start, start + len(prompt)),
        )
        return [position - crop for position in positions if position >= crop]
