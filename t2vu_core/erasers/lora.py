"""A low-rank change of one projection (LoRA, arXiv 2106.09685), which other programs can load."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn


class LoraEraser(nn.Module):
    """`scale * lora_B(lora_A(input))`, (..., in) -> (..., out). `lora_B` starts at zero: a new eraser has no effect.

    Tensor names follow peft, so an export only renames the projections. `scale` is 1 in every file.
    """

    reads_input: ClassVar[bool] = True

    def __init__(self, in_width: int, out_width: int, rank: int) -> None:
        super().__init__()
        self.lora_A = nn.Linear(in_width, rank, bias=False)
        self.lora_B = nn.Linear(rank, out_width, bias=False)
        self.scale = 1.0
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)

    def fits(self, module: nn.Module, width: int) -> bool:
        """Whether it fits this projection."""
        return getattr(module, "in_features", None) == self.lora_A.in_features and width == self.lora_B.out_features

    def forward(self, hidden: Tensor) -> Tensor:
        # Like every eraser, it stays in float32: small updates are not rounded away.
        with torch.autocast(hidden.device.type, enabled=False):
            return (self.scale * self.lora_B(self.lora_A(hidden.to(self.lora_A.weight)))).to(hidden)
