"""Layers as ComfyUI-GGUF has them: blocks of bytes under another shape, which their layer unpacks whenever it computes."""

from __future__ import annotations

from typing import Any, Self

import comfy.ops
import torch
from torch import Tensor


class Blocks(torch.Tensor):
    """Bytes, which only their layer can read."""

    tensor_type, tensor_shape, patches = "Q8_0", torch.Size(()), ()

    @property
    def shape(self) -> torch.Size:
        return self.tensor_shape

    def detach(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Tensor:
        return self.as_subclass(Tensor).clone()


class BlockLinear(comfy.ops.manual_cast.Linear):  # type: ignore[misc]
    """Q8_0: 32 bytes and a scale in fp16."""

    def get_weight(self, tensor: Any, dtype: torch.dtype) -> Tensor:
        return values_of(tensor.as_subclass(Tensor)).reshape(tensor.tensor_shape).to(dtype)

    def cast_bias_weight(self, like: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.get_weight(self.weight, like.dtype), None if self.bias is None else self.bias.to(like.dtype)

    def forward_comfy_cast_weights(self, hidden: Tensor) -> Tensor:
        return torch.nn.functional.linear(hidden, *self.cast_bias_weight(hidden))


def packed(weight: Tensor) -> Tensor:
    """Rows of 34 bytes."""
    rows = weight.detach().clone().reshape(-1, 32)
    scale = (rows.abs().amax(1, keepdim=True) / 127).half()
    numbers = (rows / scale.float()).nan_to_num().round().to(torch.int8)
    return torch.cat([scale.view(torch.uint8), numbers.view(torch.uint8)], 1)


def values_of(rows: Tensor) -> Tensor:
    """The numbers of packed rows."""
    rows = rows.reshape(-1, 34)
    return rows[:, 2:].contiguous().view(torch.int8).float() * rows[:, :2].contiguous().view(torch.float16).float()


def pack(layer: Any) -> None:
    """Turn a linear layer of ComfyUI's into one of these."""
    shape, blocks = layer.weight.shape, packed(layer.weight).as_subclass(Blocks)
    blocks.tensor_shape, blocks.patches = shape, []
    layer.__class__ = BlockLinear
    layer.weight = torch.nn.Parameter(blocks, requires_grad=False)
