"""What an erasure file says of its training, the same for both methods."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import diffusers
import torch

from t2vu_core.training.checkpoint import Checkpoint


def training_record(start: float, checkpoint: Checkpoint | None, losses: Sequence[float], **more: Any) -> dict[str, Any]:
    """Seconds since `start` (of time.monotonic) and before a resume, steps, losses, versions, and what the method adds.

    JSON knows no NaN: a figure that is no number becomes None.
    """
    before = sum(checkpoint.spent) if checkpoint else 0.0
    return {
        "seconds": round(before + time.monotonic() - start, 1),
        **{name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in more.items()},
        "steps": len(losses),
        "losses": [float(f"{loss:.4g}") for loss in losses],
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
    }
