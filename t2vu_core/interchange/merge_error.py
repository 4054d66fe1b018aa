"""What is left of a LoRA when it is merged into fp8 weights, as Load LoRA merges it: measured on the weights themselves.

ComfyUI adds the change in float32 and rounds the sum back at random, up or down, so that the mean is right. In fp8 numbers
are 6 to 12 % apart: a change that is small against the weights arrives with an error larger than itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from t2vu_core.formatting import percent
from t2vu_core.interchange.comfyui_names import Pair

FP8 = torch.float8_e4m3fn
TOLERABLE = 0.1
"""The error, as a share of the change, up to which no warning is due."""


@dataclass(frozen=True)
class MergeError:
    """Norms over all layers that a LoRA changes."""

    change: float
    """The LoRA's change, relative to the weights."""
    error: float
    """What rounding adds to it, relative to the change."""
    simulated: bool
    """Whether the weights were rounded to fp8 for this measurement; otherwise the model is in fp8 itself."""

    @property
    def tolerable(self) -> bool:
        """Whether the merged LoRA does about what the eraser does."""
        return self.error <= TOLERABLE

    def __str__(self) -> str:
        where = "an fp8 version of this model (simulated)" if self.simulated else "this model's fp8 weights"
        size = f"{self.error:.1f} times as large as the change" if self.error >= 1 else f"{percent(self.error)} of the change"
        return f"merged into {where}, the change ({percent(self.change)} of the weights) arrives with a rounding error {size}"


class MergedInto(NamedTuple):
    """A layer's weight (out, in) that is in fp8, or is rounded to it."""

    values: Tensor
    scale: float = 1.0
    """Of the fp8 numbers."""
    rescaled: bool = False
    """Whether the scale is chosen again after merging, as newer versions of ComfyUI do: every number is then rounded again."""


def merge_error(pairs: Mapping[str, Pair], weight_of: Callable[[str], MergedInto], *, simulated: bool) -> MergeError:
    """Merge each pair into fp8 weights and compare the change with the wanted one."""
    wanted, missed, size = 0.0, 0.0, 0.0
    generator = torch.Generator().manual_seed(0)
    for name, (down, up) in pairs.items():
        weight, scale, rescaled = weight_of(name)
        stored = _nearest(weight.detach().to("cpu", torch.float32) / scale) * scale
        change = (up.float() @ down.float()).cpu()
        whole = stored + change
        scale = float(whole.abs().max()) / torch.finfo(FP8).max if rescaled else scale
        merged = rounded_at_random(whole / scale, generator) * scale
        wanted += float(change.square().sum())
        missed += float((merged - whole).square().sum())
        size += float(stored.square().sum())
    return MergeError(math.sqrt(wanted / max(size, 1e-24)), math.sqrt(missed / max(wanted, 1e-24)), simulated)


def rounded_at_random(values: Tensor, generator: torch.Generator) -> Tensor:
    """fp8 neighbours of values, float32: the upper or the lower one, the nearer the likelier."""
    limits = torch.finfo(FP8)
    _, exponent = values.abs().clamp_min(limits.smallest_normal).frexp()
    spacing = limits.eps * torch.exp2(exponent.float() - 1)
    noise = torch.rand(values.shape, generator=generator)
    return ((values / spacing + noise).floor() * spacing).clamp(limits.min, limits.max)


def _nearest(values: Tensor) -> Tensor:
    return values.clamp(torch.finfo(FP8).min, torch.finfo(FP8).max).to(FP8).float()
