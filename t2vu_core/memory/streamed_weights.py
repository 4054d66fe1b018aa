"""Gradients through frozen weights whose data are replaced around each forward pass (offloaded, or cast from 8 bits).

Autograd saves some weights as they are (norms, convolutions) and finds other data in them when the backward pass comes: on
another device, or in 8 bits. So every operation gets an alias of the weight, which keeps the data of the pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

ACCESSORS = ("__get__", "__set__")


class AliasedWeights(TorchFunctionMode):
    """Inside this context, operations get aliases in the place of frozen parameters; in-place ones get the parameters."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ACCESSORS or (name.endswith("_") and not name.endswith("__")):
            return func(*args, **(kwargs or {}))
        args, kwargs = tree_map(_alias, (args, kwargs or {}))
        return func(*args, **kwargs)


@contextlib.contextmanager
def aliased(denoisers: Iterable[nn.Module]) -> Iterator[None]:
    """Inside this context, passes with gradients through these denoisers are right, with gradient checkpointing and without.

    Enter it after checkpointing is enabled. Checkpoints recompute a whole block: an early stop would skip the hooks that
    take the block's weights off the device again.
    """
    every = [part for denoiser in denoisers for part in denoiser.modules()]
    parts: list[Any] = [part for part in every if hasattr(part, "_gradient_checkpointing_func")]
    before = [part._gradient_checkpointing_func for part in parts]
    try:
        for part in parts:
            part._gradient_checkpointing_func = _checkpointed
        with set_checkpoint_early_stop(False), AliasedWeights():
            yield
    finally:
        for part, own in zip(parts, before, strict=True):
            part._gradient_checkpointing_func = own


def _checkpointed(module: Any, *args: Any) -> Any:
    # The backward pass of a GPU recomputes in a thread of its own, which has no modes.
    return checkpoint(module.__call__, *args, use_reentrant=False, context_fn=lambda: (AliasedWeights(), AliasedWeights()))


def _alias(value: Any) -> Any:
    return value.detach() if isinstance(value, nn.Parameter) and not value.requires_grad else value
