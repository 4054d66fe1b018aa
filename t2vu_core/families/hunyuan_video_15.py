"""HunyuanVideo 1.5 (arXiv 2511.18870): dual-stream blocks only, flow velocity, Qwen2.5-VL, and ByT5 for quoted text.

Guidance is classifier-free, at the scale of the folder's guider; a distilled model's guider is disabled. The prompt is
inserted into a chat template, whose first tokens are removed after encoding. Text in quotation marks is also encoded
letter by letter and precedes the prompt in the joint sequence. The inputs for an image stay empty in text-to-video.

As in the paper's CogVideoX (arXiv 2505.17550), the erasers follow the attention of every block and change its video half.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from t2vu_core.families.base import MaskLayers
from t2vu_core.families.clip_size import ClipSize, SamplingDefaults
from t2vu_core.families.eraser_site import EraserSite, edit_video
from t2vu_core.families.hunyuan_video import HunyuanVideo
from t2vu_core.families.spelling import concept_tokens, token_pieces
from t2vu_core.families.text_attention import TextAttention
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.quiet import quiet_libraries

NUM_FRAMES = 121
NUM_STEPS = 50
FPS = 24


class HunyuanVideo15(HunyuanVideo):
    """Latents are (B, C, F, H, W). The joint sequence is video, quoted text, prompt, padding."""

    name: ClassVar[str] = "hunyuan_video_15"
    pipeline_classes: ClassVar[tuple[str, ...]] = ("HunyuanVideo15Pipeline",)
    title: ClassVar[str] = "HunyuanVideo 1.5"

    @property
    def defaults(self) -> SamplingDefaults:
        pipeline, guider = self.pipeline, self.pipeline.guider.config
        columns, rows = pipeline.default_aspect_ratio
        height, width = pipeline.video_processor.calculate_default_height_width(rows, columns, pipeline.target_size)
        guidance = float(guider.guidance_scale) if guider.get("enabled", True) else 1.0
        return SamplingDefaults(ClipSize(NUM_FRAMES, height, width), NUM_STEPS, guidance, FPS)

    @quiet_libraries()
    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextCondition:
        embeds, mask, glyphs, glyph_mask = self.pipeline.encode_prompt(
            list(prompts), device=self.pipeline.text_encoder.device, batch_size=len(prompts)
        )
        return TextCondition(embeds, mask, glyphs_BGD=glyphs, glyph_mask_BG=glyph_mask).to(self.device)

    def latent_shape(self, size: ClipSize) -> tuple[int, ...]:
        return (self.pipeline.num_channels_latents, *super().latent_shape(size)[1:])

    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition, size: ClipSize) -> Tensor:
        assert condition.mask_BS is not None
        assert condition.glyphs_BGD is not None
        assert condition.glyph_mask_BG is not None
        # Latents of a first frame and their mask: there is none in text-to-video.
        unseen = latents.new_zeros(len(latents), latents.shape[1] + 1, *latents.shape[2:])
        image = latents.new_zeros(
            len(latents), self.pipeline.vision_num_semantic_tokens, self._config.image_embed_dim, dtype=self.dtype
        )
        return self.pipeline.transformer(
            hidden_states=torch.cat([latents, unseen], dim=1).to(self.dtype),
            timestep=timesteps_B.to(self.dtype),
            encoder_hidden_states=condition.embeds_BSD.to(self.dtype),
            encoder_attention_mask=condition.mask_BS.to(self.dtype),
            encoder_hidden_states_2=condition.glyphs_BGD.to(self.dtype),
            encoder_attention_mask_2=condition.glyph_mask_BG.to(self.dtype),
            image_embeds=image,
            return_dict=False,
        )[0].float()

    # The VAE's attention takes one clip at a time (its mask has no axis for heads), unless it slices batches itself.

    @torch.no_grad()
    def decode(self, latents: Tensor, size: ClipSize) -> Tensor:
        return torch.cat([super(HunyuanVideo15, self).decode(clip, size) for clip in latents.split(1)])

    @torch.no_grad()
    def latents_of(self, clips: Tensor, size: ClipSize) -> Tensor:
        return torch.cat([super(HunyuanVideo15, self).latents_of(clip, size) for clip in clips.split(1)])

    def eraser_sites(self) -> list[EraserSite]:
        width = self._config.num_attention_heads * self._config.attention_head_dim
        return [
            EraserSite(f"transformer_blocks.{index}.attn", block.attn, width, edit_video)
            for index, block in enumerate(self.pipeline.transformer.transformer_blocks)
        ]

    @contextlib.contextmanager
    def text_attention(
        self, positions: Sequence[Sequence[int]], size: ClipSize, layers: MaskLayers = "all"
    ) -> Iterator[TextAttention]:
        with super().text_attention(positions, size, layers) as watch:

            def after_glyphs(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
                """Shift the positions by the number of quoted letters, which precede the prompt and differ between clips."""
                counts = kwargs["encoder_attention_mask_2"].bool().sum(1).tolist()
                watch.positions = [[place + count for place in row] for row, count in zip(positions, counts, strict=False)]

            handle = self.pipeline.transformer.register_forward_pre_hook(after_glyphs, with_kwargs=True)
            try:
                yield watch
            finally:
                handle.remove()

    def token_pieces(self, prompt: str) -> list[str]:
        pipeline = self.pipeline
        start, crop = self._chat("{}").index("{}"), pipeline.prompt_template_encode_start_idx
        longest, span = pipeline.tokenizer_max_length + crop, (start, start + len(prompt))
        return token_pieces(pipeline.tokenizer, self._chat(prompt), max_length=longest, span=span)[crop:]

    def concept_positions(self, prompt: str, concept: str) -> list[int]:
        pipeline = self.pipeline
        start, crop = self._chat("{}").index("{}"), pipeline.prompt_template_encode_start_idx
        positions = concept_tokens(
            pipeline.tokenizer,
            self._chat(prompt),
            concept,
            max_length=pipeline.tokenizer_max_length + crop,
            span=(start, start + len(prompt)),
        )
        return [position - crop for position in positions if position >= crop]

    def _chat(self, prompt: str) -> str:
        """The prompt in its chat template, as the text encoder gets it."""
        messages = [
            {"role": "system", "content": self.pipeline.system_message},
            {"role": "user", "content": prompt or " "},
        ]
        text: str = self.pipeline.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return text
