"""Gradients through frozen quantised layers, without copies of their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2vu_core.quantised_weights import quantised_layer, unpacked


class _FrozenLinear(torch.autograd.Function):
    """A frozen linear layer; its weight is unpacked again for the backward pass.

    The gradient of a linear map does not depend on its input, so nothing is saved. For a layer that quantises its input
    too this is the straight-through estimate.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, layer: nn.Module, compute: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.layer, ctx.dtype = layer, hidden.dtype
        return compute(hidden.detach())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        weight = unpacked(ctx.layer).to(gradient.device, gradient.dtype)
        return torch.matmul(gradient, weight).to(ctx.dtype), None, None


def pass_gradients(denoiser: nn.Module) -> None:
    """From now on, the denoiser's quantised layers pass gradients to their input and keep no unpacked weight for them.

    What they compute does not change. Under autocast the weight is unpacked, because not every library's kernel takes
    another precision than the layer's own.
    """
    for module in denoiser.modules():
        if quantised_layer(module) and "forward" not in vars(module):
            vars(module)["forward"] = _frozen_forward(module)


def _frozen_forward(module: Any) -> Callable[..., Tensor]:
    own: Callable[[Tensor], Tensor] = module.forward

    def with_unpacked(hidden: Tensor) -> Tensor:
        return F.linear(hidden, unpacked(module), module.bias)

    def forward(hidden: Tensor) -> Tensor:
        compute = with_unpacked if torch.is_autocast_enabled(hidden.device.type) else own
        if not (torch.is_grad_enabled() and hidden.requires_grad):
            return compute(hidden)
        result: Tensor = _FrozenLinear.apply(hidden, module, compute)
        return result

    return forward
