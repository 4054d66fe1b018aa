"""The scores of an evaluation as typed values: what is measured, shown in the report and stored in an erasure file.

JSON is only read and written at the edges (`Scores.from_json`, `Scores.to_json`); the names of the fields are its keys.
Rates are shares in [0, 1], intervals are 95 % confidence intervals, and None means that nothing was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from t2vu_core.errors import UserError
from t2vu_core.typed_json import Range, from_json, to_json

FORMAT_VERSION = 1
Share = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(0, 10**9)]
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """The share of the same clips before and after erasing for which something is true."""

    before: Share
    after: Share
    clips: Annotated[int, Range(1, 10**9)]
    interval: tuple[Share, Share]
    """Of `after`."""
    before_interval: tuple[Share, Share]
    p_of_no_change: Share
    """Exact McNemar test."""


@dataclass(frozen=True, kw_only=True)
class Relative:
    """A value after erasing divided by the value before; None where the value before is 0."""

    ratio: float | None
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class Change:
    """Means of a measure before and after erasing, and their ratio."""

    before: float | None
    after: float | None
    ratio: float | None
    interval: Interval | None
    """Of the ratio."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference of two rates, and whether it is significant."""

    difference: float
    interval: Interval
    is_one: bool
    """The interval excludes 0."""


@dataclass(frozen=True, kw_only=True)
class ByFrame:
    """The share of clips that show the concept, by frame index. A trend is the change from the first frame to the last."""

    before: tuple[Share, ...]
    after: tuple[Share, ...]
    interval: tuple[tuple[Share, Share], ...]
    """Of `after`."""
    trend_before: float
    trend: float


@dataclass(frozen=True, kw_only=True)
class ErasedRates:
    """How many clips show the concept, by register of the prompts and over all of them."""

    terse: Rate | None
    synonym: Rate | None
    refined: Rate | None
    two_subject: Rate | None
    all: Rate | None
    by_frame: ByFrame | None

    def of(self, register: str) -> Rate | None:
        """The rate of a register of prompts, or of "all"."""
        rate: Rate | None = getattr(self, register)
        return rate


@dataclass(frozen=True, kw_only=True)
class KeptConcepts(Rate):
    """How many clips of other concepts show what was asked for."""

    relative: Relative
    by_concept: Mapping[str, Rate]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What else the clips show as asked."""

    concepts: KeptConcepts | None
    attributes: Mapping[str, Rate | None]
    """Of the concept's own prompts: background, motion, style, and another subject where there is one."""
    other_subject: Rate | None
    """Of prompts with two subjects."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far clips of other concepts moved from those before with the same seed; 1 and 0 are no drift."""

    ssim: float
    l1: float
    clips: Count


@dataclass(frozen=True, kw_only=True)
class Motion(Change):
    """Motion of all clips, of those that ask for the concept, and of those that do not."""

    concept: Change
    kept: Change


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Measures that fall when clips are damaged."""

    sharpness: Change
    confidence: Change
    """Of the detector, on clips of other concepts."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The share of the concept that is gone, the share of the rest that is kept, and their product."""

    gone: Share | None
    kept: Share | None
    gone_and_kept: Share | None


@dataclass(frozen=True, kw_only=True)
class NeverKnewRate:
    """How many clips of a model trained without the concept show it, and how the erased model differs from that."""

    rate: Share
    clips: Count
    interval: tuple[Share, Share]
    against: Difference


@dataclass(frozen=True, kw_only=True)
class NeverKnew:
    """A model that was trained without the concept, on the same prompts and seeds."""

    model: str
    erased: Mapping[str, NeverKnewRate | None]
    """By register, and "all"."""
    kept: KeptConcepts | None


@dataclass(frozen=True, kw_only=True)
class AttackPart:
    """A part of an attack's clips, with one of its settings."""

    shown: Count
    """How many show the concept."""
    clips: Count
    control: Count | None
    """How many of as many clips of the model before erasing show it; None if unknown."""


@dataclass(frozen=True, kw_only=True)
class AttackScores:
    """How many clips show the concept under an attack, and under the same attack on the control models."""

    before: Share | None
    """Without an attack."""
    after: Share | None
    clips: Count
    interval: tuple[Share, Share]
    gain: Difference
    control: Share | None
    """Of the model before erasing."""
    control_interval: tuple[Share, Share]
    never_knew: Share | None
    never_knew_interval: tuple[Share, Share] | None
    against_never_knew: Difference | None
    loss: Mapping[str, Interval | None]
    """By model: the attack's mean loss at the start and at the end."""
    note: str
    budget: str
    parts: Mapping[str, AttackPart] = field(default_factory=dict)
    """By depth, setting, or start and step."""


@dataclass(frozen=True, kw_only=True)
class AppliedTo:
    """An erasure on the measured model."""

    method: str
    concepts: tuple[str, ...]
    strength: float


@dataclass(frozen=True, kw_only=True)
class DetectorErrors:
    """A detector's own errors, counted on clips whose content is known."""

    false_alarm_rate: Share
    false_alarm_interval: tuple[Share, Share]
    clips_without: Count
    miss_rate: Share
    miss_interval: tuple[Share, Share]
    clips_with: Count


@dataclass(frozen=True, kw_only=True)
class JudgedBy:
    """The detector, by name and version."""

    name: str
    accuracy: DetectorErrors | Literal["unknown"]


@dataclass(frozen=True, kw_only=True)
class SecondJudgement:
    """What a second detector says of the same clips."""

    judge: JudgedBy
    erased: Rate | None
    """How many clips show the concept."""
    kept: Rate | None
    """How many clips of other concepts show what was asked for."""
    differ: Share
    """The share of clips, before and after, about which the two detectors differ."""
    clips: Count


@dataclass(frozen=True, kw_only=True)
class Realism:
    """Mean distance of clips to the nearest render of their world, by the second judge's features; lower is closer."""

    before: float | None
    after: float | None
    renders: float
    """The same of renders that are not among those compared with: the least that can be expected."""


@dataclass(frozen=True, kw_only=True)
class Instead:
    """What clips that ask for the concept show after erasing: an empty scene, a subject with a name, or debris."""

    natural: Share
    """Empty scenes and subjects with a name."""
    debris: Share
    empty: Share
    subjects: Mapping[str, Share]
    """By name; a clip may show two. The concept itself is among them where it is still shown."""
    natural_before: Share
    debris_before: Share
    debris_interval: tuple[Share, Share]
    clips: Count
    realism: Realism | None
    """None without the second judge."""


@dataclass(frozen=True, kw_only=True)
class PromptsUsed:
    """The prompt set, by name and hash."""

    name: str
    sha256: str
    clips: Count
    left_out: tuple[str, ...]
    """Concepts whose prompts do not count as other concepts, because they are erased as well."""


@dataclass(frozen=True, kw_only=True)
class MeasuredWith:
    """Everything that decides the scores."""

    preset: str
    num_inference_steps: Count
    guidance_scale: float
    model: str
    base_hash: str
    erasures: tuple[AppliedTo, ...]
    guard: Mapping[str, Any] | None
    before_hash: str
    after_hash: str
    detector: JudgedBy
    prompts: PromptsUsed


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Everything that an evaluation measured."""

    format_version: int = FORMAT_VERSION
    concept: str
    erased: ErasedRates
    kept: Kept
    false_alarms: Rate | None
    """How many clips that do not ask for the concept show it."""
    drift: Drift | None
    motion: Motion
    quality: Quality
    summary: Summary
    never_knew: NeverKnew | None
    comes_back: Mapping[str, AttackScores | None]
    """By attack; None where an attack was not asked for."""
    settings: MeasuredWith
    seconds: float
    instead: Instead | None = None
    """None if it was not judged: only clips of a miniature's world are, by a detector of that world."""
    second_judge: SecondJudgement | None = None
    evaluation_version: Count | None = None
    """The version of the evaluation, which is raised when it counts the same clips differently. None: older than version 1."""
    measured_at: str | None = None
    """When the evaluation ended, ISO 8601 in UTC; None in older files."""

    def to_json(self) -> dict[str, Any]:
        """The scores as JSON values."""
        values: dict[str, Any] = to_json(self)
        return values

    @classmethod
    def from_json(cls, value: Any, source: str = "The scores are broken") -> Scores:
        """Check and read JSON values; keys of later versions are ignored.

        Raises UserError, in one sentence that begins with `source`, if anything is missing, of the wrong type, not a finite
        number, out of range or too long, or if a newer version of this package wrote it.
        """
        version = value.get("format_version") if isinstance(value, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise UserError(f"{source}: format version {version} needs a newer version of this program.")
        return from_json(cls, value, source)

    def attacks(self) -> dict[str, AttackScores]:
        """The attacks that were tried, by name."""
        return {name: attack for name, attack in self.comes_back.items() if attack is not None}
