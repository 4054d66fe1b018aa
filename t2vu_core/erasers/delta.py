"""A change of every weight of one layer: few-shot unlearning trains these in a text encoder (arXiv 2405.07288).

The change's output is computed separately in float32 and added to the layer's output. The layer's own weights are not
modified, and steps far below the precision of a bf16 weight are not lost.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DeltaEraser(nn.Module):
    """`input @ delta.weight^T + delta.bias`, (..., in) -> (..., out). It starts at zero: a new eraser has no effect."""

    reads_input: ClassVar[bool] = True

    def __init__(self, in_width: int, out_width: int, *, bias: bool) -> None:
        super().__init__()
        self.delta = nn.Linear(in_width, out_width, bias=bias)
        self.scale = 1.0
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def fits(self, module: nn.Module, width: int) -> bool:
        """Whether it fits this linear layer."""
        own = (getattr(module, "in_features", None), getattr(module, "out_features", None))
        return own == (self.delta.in_features, self.delta.out_features)

    def forward(self, hidden: Tensor) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            # The encoder may have been offloaded to host memory after this was attached.
            return (self.scale * self.delta(hidden.to(self.delta.weight))).to(hidden)


class TableEraser(nn.Module):
    """A change of every row of an embedding table: ids (...) -> (..., width)."""

    reads_input: ClassVar[bool] = True

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, width, _weight=torch.zeros(rows, width))
        self.scale = 1.0

    def fits(self, module: nn.Module, width: int) -> bool:
        """Whether it fits this embedding table."""
        return isinstance(module, nn.Embedding) and module.weight.shape == self.table.weight.shape

    def forward(self, ids: Tensor) -> Tensor:
        return self.scale * F.embedding(ids.to(self.table.weight.device), self.table.weight).to(ids.device)
