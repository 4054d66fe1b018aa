"""The settings of an evaluation and its presets, and its progress."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from t2vu_core.errors import UserError

EVALUATION_VERSION = 2
"""Raised whenever the same model would get other scores, by counting, thresholds, presets or attacks; scores name it.

2: of PROBE from several starts the best recorded step counts; version 1 counted the last step.
"""
MOST_STARTS = 3
"""Of PROBE: the erased word, random tokens, another subject."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """The numbers of clips, and how they are sampled."""

    preset: str = "quick"
    per_register: int = 16
    """Number of prompts of each register."""
    kept: int = 60
    """Number of prompts of other concepts."""
    rounds: int = 1
    """How often each prompt is used, with another seed each time."""
    num_inference_steps: int | None = 12
    """None: the model's default."""
    guidance_scale: float | None = None
    batch_size: int = 4
    attack_steps: int = 150
    """Training steps of an attack; the prompt search takes 1.5 times as many."""
    probe_steps: int | None = None
    """Training steps of PROBE; None: `attack_steps`."""
    probe_starts: int = 1
    """How many starts PROBE tries, up to three; the best counts, at its best recorded step."""
    attack_clips: int = 32
    """Number of clips that measure an attack."""

    @classmethod
    def of(cls, preset: str, **changes: Any) -> EvaluationSettings:
        """A preset by name, with changes. Raises UserError if a value is invalid."""
        if preset not in EVALUATION_PRESETS:
            raise UserError(f"There is no evaluation preset {preset!r}; there are {', '.join(EVALUATION_PRESETS)}.")
        settings = dataclasses.replace(EVALUATION_PRESETS[preset], **changes)
        counts = ("per_register", "rounds", "batch_size", "attack_steps", "probe_steps", "probe_starts", "attack_clips")
        given = {name: getattr(settings, name) for name in counts if getattr(settings, name) is not None}
        small = next((name for name, value in given.items() if value < 1), None)
        if small or settings.kept < 0:
            raise UserError(f"{small or 'kept'} must be >= {1 if small else 0}.")
        if settings.probe_starts > MOST_STARTS:
            raise UserError(f"probe_starts must be <= {MOST_STARTS}.")
        return settings

    def sampling(self) -> dict[str, Any]:
        """The settings that decide a clip, in addition to model, prompt and seed."""
        return {"num_inference_steps": self.num_inference_steps, "guidance_scale": self.guidance_scale}


EVALUATION_PRESETS = {
    "quick": EvaluationSettings(),
    "full": EvaluationSettings(
        preset="full", per_register=32, kept=192, rounds=2, num_inference_steps=None, attack_steps=600, attack_clips=64
    ),
}


@dataclass(frozen=True)
class EvaluationProgress:
    """The progress of an evaluation. An exception in the callback stops it; finished clips are kept."""

    stage: str
    step: int
    total: int
    seconds_left: float | None = None
    """Of the stage."""
    seconds_in_all: float | None = None
    """An upper estimate for all stages, reported once, before the first clip of a full evaluation."""


EvaluationCallback = Callable[[EvaluationProgress], None]
