"""How much is measured: the presets quick and full."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from t2vu_core.errors import UserError


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
    attack_steps: int = 150
    """Training steps of an attack; the prompt search takes half as many again."""
    attack_clips: int = 32
    """Clips that measure an attack."""

    @classmethod
    def of(cls, preset: str, **changes: Any) -> EvaluationSettings:
        """A preset by name, with single settings changed."""
        if preset not in PRESETS:
            raise UserError(f"There is no evaluation preset {preset!r}; there are {', '.join(PRESETS)}.")
        settings = dataclasses.replace(PRESETS[preset], **changes)
        counts = ("per_register", "rounds", "batch_size", "attack_steps", "attack_clips")
        small = next((name for name in counts if getattr(settings, name) < 1), None)
        if small or settings.kept < 0:
            raise UserError(f"The meter's {small or 'kept'} must be at least {1 if small else 0}; give a larger number.")
        return settings

    def sampling(self) -> dict[str, Any]:
        """What decides the pixels of a clip, besides model, prompt and seed."""
        return {"num_inference_steps": self.num_inference_steps, "guidance_scale": self.guidance_scale}


PRESETS = {
    "quick": EvaluationSettings(),
    "full": EvaluationSettings(
        preset="full", per_register=32, kept=192, rounds=2, num_inference_steps=None, attack_steps=600, attack_clips=64
    ),
}


@dataclass(frozen=True)
class EvaluationProgress:
    """Where an evaluation stands. A callback that raises stops it; finished clips stay."""

    stage: str
    step: int
    total: int
    seconds_left: float | None = None
    """Of the stage."""
    seconds_in_all: float | None = None
    """Of all stages, at most: told once, before the first clip of a full evaluation."""


EvaluationCallback = Callable[[EvaluationProgress], None]
