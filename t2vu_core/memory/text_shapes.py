"""The shape of encoded prompts by family, from the denoiser's configuration alone: no tokenizer and no encoder is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch

from t2vu_core.families import LTX, Family
from t2vu_core.families.text_condition import TextCondition

CLIP_TOKENS = 77
HUNYUAN_TOKENS, MOCHI_TOKENS, WAN_TOKENS = 256, 256, 512
QWEN_TOKENS, GLYPH_TOKENS = 1000, 256
"""Text tokens of HunyuanVideo 1.5: of the prompt, and of quoted text."""


@runtime_checkable
class KnowsItsPrompts(Protocol):
    """A family other than a diffusers pipeline, which says itself which shape encoded prompts have."""

    def text_condition(self, rows: int) -> TextCondition:
        """Encoded prompts of ordinary length."""


def text_condition(family: Family, rows: int) -> TextCondition:
    """Encoded prompts of the shapes that `family.encode` gives; their values mean nothing."""
    if isinstance(family, KnowsItsPrompts):
        return family.text_condition(rows)
    denoiser = next(iter(family.denoisers.values()))
    if isinstance(family, LTX):
        return _masked(family.max_text_tokens, "caption_channels")(denoiser.config, rows, family.dtype)
    return _CONDITIONS[family.name](denoiser.config, rows, family.dtype)


def _plain(tokens: int, width: str) -> Callable[[Any, int, torch.dtype], TextCondition]:
    return lambda config, rows, dtype: TextCondition(torch.empty(rows, tokens, config[width], dtype=dtype))


def _masked(tokens: int, width: str) -> Callable[[Any, int, torch.dtype], TextCondition]:
    def make(config: Any, rows: int, dtype: torch.dtype) -> TextCondition:
        return TextCondition(torch.empty(rows, tokens, config[width], dtype=dtype), torch.ones(rows, tokens, dtype=torch.bool))

    return make


def _cogvideox(config: Any, rows: int, dtype: torch.dtype) -> TextCondition:
    return TextCondition(torch.empty(rows, config.max_text_seq_length, config.text_embed_dim, dtype=dtype))


def _hunyuan(config: Any, rows: int, dtype: torch.dtype) -> TextCondition:
    condition = _masked(HUNYUAN_TOKENS, "text_embed_dim")(config, rows, dtype)
    return TextCondition(condition.embeds_BSD, condition.mask_BS, torch.empty(rows, config.pooled_projection_dim, dtype=dtype))


def _hunyuan_15(config: Any, rows: int, dtype: torch.dtype) -> TextCondition:
    condition = _masked(QWEN_TOKENS, "text_embed_dim")(config, rows, dtype)
    glyphs = _masked(GLYPH_TOKENS, "text_embed_2_dim")(config, rows, dtype)
    return TextCondition(condition.embeds_BSD, condition.mask_BS, glyphs_BGD=glyphs.embeds_BSD, glyph_mask_BG=glyphs.mask_BS)


_CONDITIONS: dict[str, Callable[[Any, int, torch.dtype], TextCondition]] = {
    "animatediff": _plain(CLIP_TOKENS, "cross_attention_dim"),
    "text_to_video_sd": _plain(CLIP_TOKENS, "cross_attention_dim"),
    "cogvideox": _cogvideox,
    "hunyuan_video": _hunyuan,
    "hunyuan_video_15": _hunyuan_15,
    "mochi": _masked(MOCHI_TOKENS, "text_embed_dim"),
    "wan": _plain(WAN_TOKENS, "text_dim"),
}
