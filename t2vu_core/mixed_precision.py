"""Where passes of a training run compute in bf16."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import torch
from torch import nn

CPU = torch.device("cpu")


def fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is no slower than float32 there: of processors, those with AVX-512, where oneDNN has kernels for it.

    With AVX2 a linear layer takes eight times as long in bf16 as in float32, and a convolution a hundred times.
    """
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def all_float32(networks: Iterable[nn.Module]) -> bool:
    """Whether the networks have float32 weights only: no half precision, and none that is packed."""
    return all(parameter.dtype == torch.float32 for network in networks for parameter in network.parameters())


def mixed_precision(device: torch.device, *, float32: bool = True) -> contextlib.AbstractContextManager[object]:
    """Autocast to bf16; on a processor that is slow in bf16, networks that are `float32` compute in float32 instead.

    Other weights need autocast there, too: what is trained is float32, and layers do not take mixed types.
    """
    if float32 and not fast_bf16(device):
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
