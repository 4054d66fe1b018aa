"""The paper's eraser: a residual bottleneck behind an attention output (T2VUnlearning, arXiv 2505.17550)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BottleneckEraser(nn.Module):
    """`down -> GELU -> up`, (..., width) -> (..., width). `up` starts at zero: a new eraser changes nothing."""

    reads_input: ClassVar[bool] = False

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, rank)
        self.up = nn.Linear(rank, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def fits(self, module: nn.Module, width: int) -> bool:
        """Whether it can change the output, `width` wide, of this module."""
        return width == self.down.in_features

    def forward(self, hidden: Tensor) -> Tensor:
        # The erasers are kept in float32 beside a bf16 base: small updates survive, and the cost is small.
        with torch.autocast(hidden.device.type, enabled=False):
            return self.up(F.gelu(self.down(hidden.to(self.down.weight.dtype)))).to(hidden.dtype)
