"""Weights that come and go on fake tensors, as offloading, casting and unpacking let them come and go on real ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def stream(modules: Iterable[nn.Module], dtype: torch.dtype | None = None) -> None:
    """While the modules compute, each has new copies of its weights, in that precision or in their own."""
    for module in modules:
        swap = _Swap(dtype)
        module.register_forward_pre_hook(swap.before, prepend=True)
        module.register_forward_hook(swap.after, always_call=True)


class FakeQuantisedLinear(nn.Linear):
    """A linear layer that allocates what a quantised one unpacks."""

    unpacked_dtype: torch.dtype
    unpacked_through: torch.dtype | None

    @staticmethod
    def replace(module: Any, dtype: torch.dtype, through: torch.dtype | None) -> None:
        """Turn a linear layer into one that computes in `dtype`; `through`: the precision of a copy made on the way."""
        module.__class__ = FakeQuantisedLinear
        module.unpacked_dtype, module.unpacked_through = dtype, through

    def t2vu_unpacked(self) -> Tensor:
        """As `t2vu_core.quantised_weights.unpacked` gives a real one."""
        return torch.empty(self.weight.shape, dtype=self.unpacked_through or self.unpacked_dtype)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.t2vu_unpacked().to(self.unpacked_dtype), self.bias)


class _Swap:
    def __init__(self, dtype: torch.dtype | None) -> None:
        self._dtype = dtype
        self._stored: list[tuple[dict[str, Any], str, Any]] = []

    def before(self, module: nn.Module, args: Any) -> None:
        for part in module.modules():
            for name, value in part._parameters.items():
                if value is not None:
                    self._stored.append((part._parameters, name, value))
                    fetched = torch.empty(value.shape, dtype=self._dtype or value.dtype)
                    part._parameters[name] = nn.Parameter(fetched, requires_grad=False)

    def after(self, module: nn.Module, args: Any, output: Any) -> None:
        while self._stored:
            table, name, value = self._stored.pop()
            table[name] = value
