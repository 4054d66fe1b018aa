"""The protocol of detectors: clips in, judgements out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from t2vu_core.evaluation.statistics import wilson_interval
from t2vu_core.scores import DetectorErrors


@dataclass(frozen=True)
class Judgement:
    """What a detector says about one clip."""

    shown: dict[str, bool]
    """Whether the clip as a whole shows each concept that was asked for."""
    frames: dict[str, list[bool]]
    """The same for every frame."""
    confidence: float
    """How sure the detector is of this judgement, 0 to 1; falls when clips are damaged."""
    attributes: dict[str, str] = field(default_factory=dict)
    """Other attributes (`style`, `motion`, `background`), if the detector knows them."""
    second: dict[str, bool] = field(default_factory=dict)
    """What a second judge says of the clip; empty without one."""


@dataclass(frozen=True)
class Accuracy:
    """A detector's own errors for a concept, counted on clips whose content is known."""

    false_alarms: int
    without: int
    misses: int
    with_concept: int

    def error_rates(self) -> DetectorErrors:
        """The rates with their intervals."""
        return DetectorErrors(
            false_alarm_rate=self.false_alarms / self.without,
            false_alarm_interval=wilson_interval(self.false_alarms, self.without),
            clips_without=self.without,
            miss_rate=self.misses / self.with_concept,
            miss_interval=wilson_interval(self.misses, self.with_concept),
            clips_with=self.with_concept,
        )


class Detector(Protocol):
    """Says whether a concept is in a clip."""

    @property
    def name(self) -> str:
        """Name and version, as the report shows them; stored judgements belong to this name."""

    @property
    def clean_prompts(self) -> str | None:
        """Name of the bundled prompts without the concept, on which false alarms are counted; or None."""

    def resolve(self, concept: str) -> str | None:
        """The detector's own name of a concept, or None if it does not know it."""

    def known(self) -> tuple[str, ...]:
        """The concepts it knows; empty if it accepts any words."""

    def accuracy(self, concept: str) -> Accuracy | None:
        """Its own errors for a concept, or None if they are unknown."""

    def judge(self, clips: Tensor, concepts: Sequence[str]) -> list[Judgement]:
        """Judge clips (B, F, 3, H, W) in [0, 1] for concepts by its own names; one judgement per clip."""
