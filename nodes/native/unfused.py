"""Kernels of newer ComfyUI versions that have no backward pass, computed by PyTorch's own operations instead.

Most blocks take other operations where `in_training` is set. Those of Cosmos-Predict2 do not.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import comfy.ops
import torch
import torch.nn.functional as F
from torch import Tensor

KERNEL = "rms_rope_split_half"


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    """Inside this context, the norm and rotary embedding of queries and keys have gradients."""
    kernels: Any = getattr(getattr(comfy, "quant_ops", None), "ck", None)
    own = getattr(kernels, KERNEL, None)
    try:
        if own is not None:
            setattr(kernels, KERNEL, normed_and_turned)
        yield
    finally:
        if own is not None:
            setattr(kernels, KERNEL, own)


def normed_and_turned(
    query: Tensor,
    key: Tensor,
    rotations: Tensor,
    query_scale: Tensor,
    key_scale: Tensor | None = None,
    epsilon: float = 1e-6,
    rot_dim: int = 0,
) -> tuple[Tensor, Tensor]:
    """Queries and keys (..., C) with RMS norms, their channels i and i + C / 2 turned by `rotations` (..., C / 2, 2, 2).

    With a `rot_dim`, only that many of the first channels are turned.
    """
    scales = query_scale, query_scale if key_scale is None else key_scale
    turned = [_turned(x, rotations, scale, epsilon, rot_dim) for x, scale in zip((query, key), scales, strict=True)]
    return turned[0], turned[1]


def _turned(x: Tensor, rotations: Tensor, scale: Tensor, epsilon: float, rot_dim: int) -> Tensor:
    normed = F.rms_norm(x, x.shape[-1:], scale, epsilon)
    width = rot_dim or x.shape[-1]
    first, second = normed[..., :width].to(rotations.dtype).chunk(2, dim=-1)
    halves = [rotations[..., row, 0] * first + rotations[..., row, 1] * second for row in (0, 1)]
    return torch.cat([torch.cat(halves, dim=-1).type_as(x), normed[..., width:]], dim=-1)
