"""The paper's eraser: a residual bottleneck behind an attention output (T2VUnlearning, arXiv 2505.17550)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BottleneckEraser(nn.Module):
    """`down -> GELU -> up`, (..., width) -> (..., width). `up` starts at zero: a new eraser changes nothing."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, rank)
        self.up = nn.Linear(rank, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        # The erasers are kept in float32 beside a bf16 base: small updates survive, and the cost is small.
        with torch.autocast(hidden.device.type, enabled=False):
            return self.up(F.gelu(self.down(hidden.to(self.down.weight.dtype)))).to(hidden.dtype)
