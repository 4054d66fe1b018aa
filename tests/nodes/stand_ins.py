"""Loaded by a ComfyUI as a custom node: a CLIP and a VAE for tiny denoisers with random weights.

ComfyUI's own text encoders and video VAEs have one size each, of billions of parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import torch


class LetterClip:
    """A letter is a token, and each text has embeddings of its own."""

    def __init__(
        self, width: int, *, lengths: int = 1, padded: int | None = 0, pooled: bool = False, glyphs: bool = False,
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """With several `lengths`, prompts differ in length, and have a mask unless `padded` is None.

        They are `padded` to a number of tokens. `settings` are the same for every prompt.
        """
        self._width, self._lengths, self._padded, self._pooled, self._glyphs = width, lengths, padded, pooled, glyphs
        self._settings = settings
        letters = SimpleNamespace(
            inv_vocab={code: chr(code) for code in range(32, 127)}, tokenize_with_weights=self._tokens,
            tokenizer=SimpleNamespace(unk_token_id=-1), start_token=0, end_token=0, pad_token=0,
        )  # fmt: skip
        self.tokenizer = SimpleNamespace(clip="letters", letters=letters)
        self.patcher = SimpleNamespace(patches={}, backup={}, object_patches={})
        self.cond_stage_model = torch.nn.Module()
        self.cond_stage_model.clip = "letters"  # type: ignore[assignment]
        self.cond_stage_model.letters = torch.nn.Module()
        self.cond_stage_model.letters.transformer = torch.nn.Linear(1, 1)

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, text: str) -> Any:
        generator = torch.Generator().manual_seed(sum(place * ord(letter) for place, letter in enumerate(text, 1)))
        length = 16 - len(text) % self._lengths
        whole = max(length, self._padded or 0)
        pooled = torch.randn(1, 768, generator=generator) if self._pooled else None
        parts: dict[str, Any] = {"pooled_output": pooled, **self._settings}
        if self._lengths > 1 and self._padded is not None:
            parts["attention_mask"] = (torch.arange(whole) < length).long()[None]
        if self._glyphs:
            parts["conditioning_byt5small"] = torch.randn(1, 3, 1472, generator=generator)
        return [[torch.randn(1, whole, self._width, generator=generator), parts]]

    def _tokens(self, text: str, return_word_ids: bool = False) -> Any:
        return [[(ord(letter), 1.0, place + 1) for place, letter in enumerate(text) if not letter.isspace()]]


class PlainPixels:
    """In place of a VAE: the first latents as colours."""

    def __init__(self, ratio: int, time: int, channels: int = 3) -> None:
        self.spacial_compression_decode, self.temporal_compression_decode = lambda: ratio, lambda: time
        self._ratio, self._channels = ratio, channels

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        pixels = latents[:, :3].float().sigmoid().movedim(1, -1)
        return pixels.repeat_interleave(self._ratio, 2).repeat_interleave(self._ratio, 3)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Of one frame (1, H, W, 3)."""
        colours = pixels[:, :: self._ratio, :: self._ratio].float().clamp(0.01, 0.99).logit().movedim(-1, 0)
        return torch.cat([colours, colours.new_zeros(self._channels - 3, *colours.shape[1:])])[None]


KINDS = {"wan": (4096, 1, (8, 4)), "ltx": (64, 2, (32, 8))}
"""By family: width and lengths of the text; pixels and frames of a latent."""


class LoadStandIns:
    """CLIP and VAE of a family."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "load", ("CLIP", "VAE")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"family": (list(KINDS),)}}

    def load(self, family: str) -> tuple[LetterClip, PlainPixels]:
        width, lengths, ratios = KINDS[family]
        return LetterClip(width, lengths=lengths), PlainPixels(*ratios)


NODE_CLASS_MAPPINGS = {"LoadStandIns": LoadStandIns}
