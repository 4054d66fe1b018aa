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

    @staticmethod
    def cat(conditions: Sequence[TextCondition]) -> TextCondition:
        lengths = {condition.embeds_BSD.shape[1] for condition in conditions}
        rows = conditions if len(lengths) == 1 else [condition.padded(max(lengths)) for condition in conditions]

        def join(name: str) -> Tensor | None:
            present = [part for condition in rows if (part := getattr(condition, name)) is not None]
            return torch.cat(present) if present else None

        parts: dict[str, Any] = {field.name: join(field.name) for field in dataclasses.fields(TextCondition)}
        return TextCondition(**parts)

    def _map(self, change: Callable[[Tensor], Tensor]) -> TextCondition:
        parts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        changed: dict[str, Any] = {name: None if part is None else change(part) for name, part in parts.items()}
        return TextCondition(**changed)
