"""How many bytes of tensors are alive at once while operations run, real or fake ones."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Inside this context, counts the storages that operations make: `live` bytes now, `peak` at most.

    Storages that were there before are not counted, nor what an operation allocates and frees within itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = {_key(value) for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)}
        output = func(*args, **(kwargs or {}))
        for value in tree_leaves(output):
            if isinstance(value, Tensor) and _key(value) not in given:
                self._count(value)
        return output

    def _count(self, value: Tensor) -> None:
        storage, key = value.untyped_storage(), _key(value)
        if key in self._known:
            return
        self._known[key] = storage.nbytes()
        self.live += self._known[key]
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.live -= self._known.pop(key)


def _key(value: Tensor) -> int:
    return value.untyped_storage()._cdata
