"""Gradients through ComfyUI's frozen layers, without copies of their weights.

Parameters that were made in inference mode get an ordinary tensor on the same storage. Linear layers keep no weight for
the backward pass: they cast it a second time, so that quantised and offloaded models stay as small as they are.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import comfy.model_management
import comfy.ops
import torch
from torch import Tensor, nn

from t2vu_core.families.eraser_site import is_linear

from .precision import casts
from .unfused import unfused


def freeze(model: nn.Module) -> None:
    """Switch the gradients of all weights off, and replace those that were made in inference mode by ordinary tensors.

    The new tensors are on the same storage; autograd refuses to save inference tensors. They stay, because putting the old
    ones back later would undo a move to another device in between.
    """
    # Weights that were loaded outside inference mode require gradients, and ComfyUI does not mind.
    model.requires_grad_(False)
    for module in model.modules():
        stores: tuple[tuple[dict[str, Any], Callable[[Tensor], Tensor]], ...] = (
            (module._parameters, lambda tensor: nn.Parameter(tensor, requires_grad=False)),
            (module._buffers, lambda tensor: tensor),
        )
        for store, wrap in stores:
            for name, tensor in store.items():
                same = ordinary(tensor) if tensor is not None and tensor.is_inference() else None
                if same is not None:
                    store[name] = wrap(same)


def ordinary(tensor: Any) -> Tensor | None:
    """An ordinary tensor on the same storage; None for a subclass, such as those of quantised weights.

    Only linear layers have quantised weights, and they keep none for the backward pass. ComfyUI moves such a tensor in
    inference mode, where one that was made outside it cannot be wrapped again.
    """
    if type(tensor) not in (Tensor, nn.Parameter):
        return None
    same = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return same.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())


class _FrozenLinear(torch.autograd.Function):
    """A frozen linear layer, computed by ComfyUI's own forward; its weight is cast again for the backward pass.

    The gradient of a linear map does not depend on its input, so nothing is saved. For a layer that quantises its input
    this is the straight-through estimate.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, layer: nn.Module, compute: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.layer, ctx.dtype = layer, hidden.dtype
        # `.data` has a version counter of its own: fp8 layers clamp their input in place.
        return compute(hidden.data)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        weight = weight_of(ctx.layer, gradient)
        return torch.matmul(gradient, weight.to(gradient.dtype)).to(ctx.dtype), None, None


@torch.no_grad()
def weight_of(layer: Any, like: Tensor) -> Tensor:
    """The weight (out, in) that a layer computes with, LoRAs included, on the device and in the precision of `like`."""
    if hasattr(layer, "cast_bias_weight"):
        # The layers of ComfyUI-GGUF unpack their own.
        own: Tensor = layer.cast_bias_weight(like)[0]
        return own
    weight, bias, stream = comfy.ops.cast_bias_weight(layer, like, offloadable=True)
    if hasattr(weight, "dequantize") and hasattr(weight, "_qdata"):
        weight = weight.dequantize()
    scale = getattr(layer, "scale_weight", None)
    # A copy: the cast weight may be in a buffer that the next layer overwrites.
    whole: Tensor = weight.to(like.dtype).clone() if scale is None else weight.to(like.dtype) * scale.to(like)
    comfy.ops.uncast_bias_weight(layer, weight, bias, stream)
    return whole


@contextlib.contextmanager
def frozen_linears(model: nn.Module) -> Iterator[None]:
    """Inside this context, linear layers keep neither their input nor a cast weight for the backward pass."""
    changed: list[Any] = []
    try:
        for module in model.modules():
            # Where another pack has replaced `forward`, the weight alone is not what the layer computes.
            replaced = vars(module).get("forward")
            ours = replaced is None or casts(module)
            if is_linear(module) and hasattr(module, "forward_comfy_cast_weights") and ours:
                vars(module)["forward"] = _frozen_forward(module)
                changed.append((module, replaced))
        yield
    finally:
        for module, before in changed:
            vars(module).pop("forward", None)
            if before is not None:
                vars(module)["forward"] = before


def _frozen_forward(module: nn.Module) -> Callable[..., Tensor]:
    own: Callable[..., Tensor] = module.forward

    def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not (torch.is_grad_enabled() and isinstance(hidden, Tensor) and hidden.requires_grad):
            return own(hidden, *args, **kwargs)
        result: Tensor = _FrozenLinear.apply(hidden, module, lambda inner: own(inner, *args, **kwargs))
        return result

    return forward


@contextlib.contextmanager
def training_mode() -> Iterator[None]:
    """ComfyUI's own flag for passes with gradients: newer versions choose their fused kernels by it."""
    management: Any = comfy.model_management
    before = getattr(management, "in_training", None)
    try:
        if before is not None:
            management.in_training = True
        with unfused():
            yield
    finally:
        if before is not None:
            management.in_training = before
