"""Encoded prompts, as every denoiser takes them. Shapes: B prompts, S text tokens, D width."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class TextCondition:
    """Encoded prompts: embeddings (B, S, D) and, if the architecture uses them, a mask (B, S) and a pooled (B, D).

    HunyuanVideo 1.5 also encodes text in quotation marks as glyphs, (B, G, D), with a mask (B, G).
    """

    embeds_BSD: Tensor
    mask_BS: Tensor | None = None
    pooled_BD: Tensor | None = None
    glyphs_BGD: Tensor | None = None
    glyph_mask_BG: Tensor | None = None

    def __len__(self) -> int:
        return len(self.embeds_BSD)

    def __getitem__(self, rows: Any) -> TextCondition:
        return self._map(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> TextCondition:
        return self._map(lambda tensor: tensor.to(device))

    def padded(self, length: int) -> TextCondition:
        """With masked tokens of zeros up to this length."""
        mask = torch.ones_like(self.embeds_BSD[..., 0], dtype=torch.long) if self.mask_BS is None else self.mask_BS
        missing = length - mask.shape[1]
        embeds = F.pad(self.embeds_BSD, (0, 0, 0, missing))
        return dataclasses.replace(self, embeds_BSD=embeds, mask_BS=F.pad(mask, (0, missing)))

    def expand(self, count: int) -> TextCondition:
        """Repeat a single encoded prompt `count` times."""
        return self[torch.zeros(count, dtype=torch.long)]

    def with_glyphs(self, length: int, width: int) -> TextCondition:
        """With masked glyphs of zeros up to this length."""
        glyphs, mask = self.glyphs_BGD, self.glyph_mask_BG
        if glyphs is None:
            glyphs = self.embeds_BSD.new_zeros(len(self), 0, width)
        if mask is None:
            mask = torch.ones_like(glyphs[..., 0], dtype=torch.long)
        missing = length - glyphs.shape[1]
        return dataclasses.replace(self, glyphs_BGD=F.pad(glyphs, (0, 0, 0, missing)), glyph_mask_BG=F.pad(mask, (0, missing)))

    @staticmethod
    def cat(conditions: Sequence[TextCondition]) -> TextCondition:
        """The rows of several, padded to one length. Rows without quoted text get masked glyphs if others have some."""
        forms = {(row.embeds_BSD.shape[1], row.mask_BS is None) for row in conditions}
        rows = conditions if len(forms) == 1 else [row.padded(max(forms)[0]) for row in conditions]
        quoted = [row.glyphs_BGD for row in conditions if row.glyphs_BGD is not None]
        forms = {(part.shape[1], row.glyph_mask_BG is None) for row in conditions if (part := row.glyphs_BGD) is not None}
        if quoted and (len(quoted) < len(rows) or len(forms) > 1):
            rows = [row.with_glyphs(max(forms)[0], quoted[0].shape[2]) for row in rows]

        def join(name: str) -> Tensor | None:
            present = [part for condition in rows if (part := getattr(condition, name)) is not None]
            return torch.cat(present) if present else None

        parts: dict[str, Any] = {field.name: join(field.name) for field in dataclasses.fields(TextCondition)}
        return TextCondition(**parts)

    def _map(self, change: Callable[[Tensor], Tensor]) -> TextCondition:
        parts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        changed: dict[str, Any] = {name: None if part is None else change(part) for name, part in parts.items()}
        return TextCondition(**changed)
