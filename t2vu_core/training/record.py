"""The training record in an erasure file, the same for both methods."""

from __future__ import annotations

import math
import time
from typing import Any

import diffusers
import torch

from t2vu_core.training.checkpoint import TrainingState


def training_record(start: float, state: TrainingState, **more: Any) -> dict[str, Any]:
    """Seconds since `start` (of time.monotonic) and before a resume, steps, losses, versions, and what the method adds.

    JSON has no NaN: a number that is not finite becomes None.
    """
    return {
        "seconds": round(state.seconds_before + time.monotonic() - start, 1),
        **{name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in more.items()},
        "steps": len(state.losses),
        "losses": [float(f"{loss:.4g}") for loss in state.losses],
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
    }
