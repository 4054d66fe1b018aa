"""Where ComfyUI computes, in which precision, and the memory that its own models hold."""

import contextlib
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import comfy.model_management
import torch

from t2vu_core import UserError
from t2vu_core.errors import panics_refused
from t2vu_core.memory.exhausted import is_exhausted

Parameters = ParamSpec("Parameters")
Output = TypeVar("Output")


def outside_inference_mode(execute: Callable[Parameters, Output]) -> Callable[Parameters, Output]:
    """Decorator for `execute`. ComfyUI runs nodes in inference mode, and tensors made there can never be trained.

    A library's panic becomes a UserError: it is not an Exception, and would end the thread that works on the queue.
    """
    return panics_refused()(torch.inference_mode(mode=False)(execute))


@contextlib.contextmanager
def enough_memory(what: str, lower: str) -> Iterator[None]:
    """In this block, too little memory becomes a UserError that says what to lower; ComfyUI's models make room."""
    try:
        yield
    except RuntimeError as error:
        if not is_exhausted(error):
            raise
        comfy.model_management.unload_all_models()
        comfy.model_management.soft_empty_cache()
        raise UserError(f"The memory ran out while {what}: {lower}.") from error


def device() -> torch.device:
    """The device on which ComfyUI computes."""
    return comfy.model_management.get_torch_device()


def default_dtype() -> torch.dtype:
    """bfloat16 on a device that supports it well, else float32."""
    place = device()
    fast = place.type != "cpu" and comfy.model_management.should_use_bf16(place)
    return torch.bfloat16 if fast else torch.float32


def make_room() -> None:
    """Move ComfyUI's own models off the accelerator before a large model is loaded or trained."""
    if device().type != "cpu":
        comfy.model_management.unload_all_models()
        comfy.model_management.soft_empty_cache()
