"""The paper's eraser: a residual bottleneck behind an attention output (T2VUnlearning, arXiv 2505.17550)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BottleneckEraser(nn.Module):
    """`down -> GELU -> up`, (..., width) -> (..., width). `up` starts at zero: a new eraser has no effect."""

    reads_input: ClassVar[bool] = False

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, rank)
        self.up = nn.Linear(rank, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def fits(self, module: nn.Module, width: int) -> bool:
        """Whether it fits a module with outputs of this width."""
        return width == self.down.in_features

    def forward(self, hidden: Tensor) -> Tensor:
        # Erasers stay in float32 even if the base is bf16: small updates are not rounded away, and the cost is low.
        with torch.autocast(hidden.device.type, enabled=False):
            return self.up(F.gelu(self.down(hidden.to(self.down.weight.dtype)))).to(hidden.dtype)
