"""What differs between a GPU and a CPU, in one place."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from t2vu_core.mixed_precision import fast_bf16


def default_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prepare(device: torch.device, seed: int) -> None:
    """Seed PyTorch's default generators and choose fast kernels."""
    torch.manual_seed(seed)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True


def bf16(device: torch.device) -> AbstractContextManager[object]:
    """Autocast to bf16, where that is fast; weights are cast at every use, as a CUDA graph needs it."""
    if not fast_bf16(device):
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
