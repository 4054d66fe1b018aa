"""What an erasure file says of its training, the same for both methods."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import diffusers
import torch


def training_record(start: float, losses: Sequence[float], **more: Any) -> dict[str, Any]:
    """Seconds since `start` (of time.monotonic), steps, losses and versions, with what else the method knows."""
    return {
        "seconds": round(time.monotonic() - start, 1),
        **more,
        "steps": len(losses),
        "losses": [float(f"{loss:.4g}") for loss in losses],
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
    }
