"""What a checkpoint holds, checked before any of it is used: a damaged file must not be trained on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

EXTRA, PARAMETER, OPTIMIZER = "extra.", "parameter.", "optimizer."
MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
"""What Adam keeps of each parameter that had a gradient."""


def read_losses(metadata: Mapping[str, str], most: int) -> list[float]:
    """The losses of the saved steps. Raises ValueError, with the reason, unless they are at most `most` finite numbers."""
    losses = json.loads(metadata.get("losses", ""))
    if not isinstance(losses, list) or not all(isinstance(loss, int | float) and math.isfinite(loss) for loss in losses):
        raise ValueError("its losses are no list of finite numbers")
    if len(losses) > most:
        raise ValueError(f"it has {len(losses)} losses, but the run makes {most} steps")
    return [float(loss) for loss in losses]


def read_seconds(metadata: Mapping[str, str]) -> float:
    """How long the run trained. Raises ValueError if that is not a number."""
    seconds = float(metadata.get("seconds", 0))
    if not 0 <= seconds < math.inf:
        raise ValueError(f"it cannot have trained for {seconds} seconds")
    return seconds


def read_moments(tensors: Mapping[str, Tensor], name: str, parameter: nn.Parameter) -> dict[str, Tensor]:
    """Adam's state of a parameter. Raises ValueError unless it, and the saved parameter, fit the parameter."""
    ending = f".{name}"
    moments = {
        key.removeprefix(OPTIMIZER).removesuffix(ending): value
        for key, value in tensors.items()
        if key.startswith(OPTIMIZER) and key.endswith(ending)
    }
    saved = tensors.get(f"{PARAMETER}{name}")
    shaped = [value for key, value in moments.items() if key != "step"]
    if saved is None or (moments and set(moments) != MOMENTS) or any(t.shape != parameter.shape for t in (saved, *shaped)):
        raise ValueError(f"the tensors of {name} are missing or of another size")
    if not all(torch.isfinite(tensor).all() for tensor in (saved, *moments.values())):
        raise ValueError(f"the tensors of {name} hold values that are not finite")
    # Adam counts its steps on the CPU, whatever device the parameters are on.
    return {key: value if key == "step" else value.to(parameter.device) for key, value in moments.items()}
