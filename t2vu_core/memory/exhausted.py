"""Whether an error says that the device's memory is exhausted."""

from __future__ import annotations

import torch


def is_exhausted(error: BaseException) -> bool:
    """Also of errors that CUDA reports outside PyTorch's allocator, as newer versions of PyTorch name them."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    accelerator = getattr(torch, "AcceleratorError", None)
    return accelerator is not None and isinstance(error, accelerator) and "out of memory" in str(error).lower()
