"""How much is measured: the presets quick and full."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from t2vu_core.errors import UserError

EvaluationPreset = Literal["quick", "full"]


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """Numbers of clips, and how they are sampled."""

    preset: str = "quick"
    per_register: int = 16
    """Prompts of each register of the concept."""
    kept: int = 60
    """Prompts of other concepts."""
    rounds: int = 1
    """How often every prompt is used, each time with another seed."""
    num_inference_steps: int | None = 12
    """None: as many as the model was made for."""
    guidance_scale: float | None = None
    batch_size: int = 4

    @classmethod
    def of(cls, preset: str, **changes: Any) -> EvaluationSettings:
        """A preset by name, with single settings changed."""
        if preset not in PRESETS:
            raise UserError(f"There is no evaluation preset {preset!r}; there are {', '.join(PRESETS)}.")
        return dataclasses.replace(PRESETS[preset], **changes)

    def sampling(self) -> dict[str, Any]:
        """What decides the pixels of a clip, besides model, prompt and seed."""
        return {"num_inference_steps": self.num_inference_steps, "guidance_scale": self.guidance_scale}


PRESETS = {
    "quick": EvaluationSettings(),
    "full": EvaluationSettings(preset="full", per_register=32, kept=192, rounds=2, num_inference_steps=None),
}


@dataclass(frozen=True)
class EvaluationProgress:
    """Where an evaluation stands. A callback that raises stops it; finished clips stay."""

    stage: str
    step: int
    total: int
    seconds_left: float | None = None


EvaluationCallback = Callable[[EvaluationProgress], None]
