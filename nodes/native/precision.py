"""The precision of passes for training: bf16 where ComfyUI computes in fp16. The MODEL samples as before.

Training runs under autocast to bf16. On CUDA, autocast refuses to combine float16 with bfloat16 (`addcmul` in Wan raises), and
gradients in float16 need loss scaling, because small ones underflow. ComfyUI can compute in any precision, whatever the
weights are stored in: for our passes it casts them to bf16, as it does for fp8 files on GPUs that prefer bf16.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn


def training_dtype(own: torch.dtype) -> torch.dtype:
    """The precision of passes with gradients, and of those that training compares with them."""
    return torch.bfloat16 if own == torch.float16 else own


@contextlib.contextmanager
def computing_in(model: Any, dtype: torch.dtype) -> Iterator[None]:
    """Inside this context, a model of ComfyUI casts its inputs to that precision."""
    with _replaced(model, "manual_cast_dtype", dtype):
        yield


@contextlib.contextmanager
def casting_layers(network: nn.Module) -> Iterator[None]:
    """Inside this context, ComfyUI's layers cast their weights to the precision of their input."""
    changed: list[Any] = []
    try:
        for module in network.modules():
            if hasattr(module, "forward_comfy_cast_weights") and "forward" not in vars(module):
                vars(module)["forward"] = _casting_forward(module)
                changed.append(module)
        yield
    finally:
        for module in changed:
            vars(module).pop("forward", None)


def casts(module: nn.Module) -> bool:
    """Whether the module's `forward` is one of `casting_layers`."""
    return hasattr(vars(module).get("forward"), "casts")


def _casting_forward(module: nn.Module) -> Callable[..., Any]:
    own = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        # For this call only: ComfyUI keeps its own value while it moves layers between devices.
        with _replaced(module, "comfy_cast_weights", True):
            return own(*args, **kwargs)

    vars(forward)["casts"] = True
    return forward


@contextlib.contextmanager
def _replaced(module: nn.Module, name: str, value: Any) -> Iterator[None]:
    """Inside this context, an attribute of the instance has that value."""
    attributes = vars(module)
    was_there, before = name in attributes, attributes.get(name)
    attributes[name] = value
    try:
        yield
    finally:
        if was_there:
            attributes[name] = before
        else:
            del attributes[name]
