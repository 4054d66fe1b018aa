"""Where an eraser edits a denoiser. Shapes: B clips, N video tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

EraserKind = Literal["bottleneck", "lora", "delta"]
EraserPlace = Literal["output", "input"]


@dataclass(frozen=True)
class EraserSite:
    """A module whose output, or input, an eraser edits.

    `edit(output, change)` returns the module's output with `change` applied: for a bottleneck only to its video tokens
    (B, N, width), for a LoRA or a delta to the whole output. With `where` "input" it gets the module's first input instead.
    """

    name: str
    module: nn.Module
    width: int
    edit: Callable[[Any, Callable[[Tensor], Tensor]], Any]
    kind: EraserKind = "bottleneck"
    where: EraserPlace = "output"


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer. Those of quantised models are not all derived from `nn.Linear`."""
    return hasattr(module, "in_features") and hasattr(module, "out_features")


def edit_whole(output: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """For a module whose whole output is changed."""
    return change(output)


def edit_video(output: tuple[Tensor, Tensor], change: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """For a joint attention that returns (video, text)."""
    video, text = output
    return change(video), text
