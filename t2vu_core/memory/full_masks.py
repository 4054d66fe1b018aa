"""Control flow on fake tensors: where a model asks for values of a text mask, every token counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
NEGATIONS = (aten.bitwise_not.default, aten.logical_not.default)


class FullMasks(TorchDispatchMode):
    """Answers operations whose result depends on values as if masks were true everywhere, and their negations nowhere.

    Mochi leaves padding tokens out, and HunyuanVideo 1.5 sorts it to the end: a prompt of full length is the largest.
    """

    def __init__(self) -> None:
        super().__init__()
        self._negated: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is aten._local_scalar_dense.default:
            return args[0].dtype != torch.bool or bool(args[0].numel())
        if func is aten.nonzero.default:
            return self._indices(args[0])
        if func is aten.index.Tensor:
            args = (args[0], [index for each in args[1] for index in self._plain(each)])
        output = func(*args, **(kwargs or {}))
        part_of_one = bool(args) and isinstance(args[0], Tensor) and self._is_negated(args[0])
        if isinstance(output, Tensor) and (func in NEGATIONS or part_of_one):
            self._negated.append(output)
        return output

    def _indices(self, mask: Tensor) -> Tensor:
        count = 0 if self._is_negated(mask) else mask.numel()
        return torch.empty(count, mask.dim(), dtype=torch.long, device=mask.device)

    def _is_negated(self, mask: Tensor) -> bool:
        return mask.dtype == torch.bool and any(mask is each for each in self._negated)

    def _plain(self, index: Tensor | None) -> Sequence[Tensor | None]:
        """A mask as the numbers of its places, one index for each of its dimensions."""
        if index is None or index.dtype != torch.bool:
            return [index]
        return self._indices(index).unbind(1)
