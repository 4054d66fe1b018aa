"""From records to scores: every rate with its clips and its interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from t2vu_core.evaluation.cases import ERASED_REGISTERS, KEPT
from t2vu_core.evaluation.instead_scores import instead, second_judgement
from t2vu_core.evaluation.records import Look, Record
from t2vu_core.evaluation.settings import EVALUATION_VERSION
from t2vu_core.evaluation.statistics import before_after, paired_ratio, trend, wilson_interval
from t2vu_core.scores import (
    AttackScores,
    ByFrame,
    Change,
    Drift,
    ErasedRates,
    JudgedBy,
    Kept,
    KeptConcepts,
    MeasuredWith,
    Motion,
    NeverKnew,
    Quality,
    Rate,
    Scores,
    Summary,
)

# Prompts with two subjects are counted separately: they ask for the other subject too.
PLAIN_REGISTERS = ("terse", "synonym", "refined")


def score(
    records: Sequence[Record],
    concept: str,
    settings: MeasuredWith,
    *,
    never_knew: NeverKnew | None = None,
    comes_back: Mapping[str, AttackScores | None],
    second: JudgedBy | None = None,
    seconds: float,
    measured_at: str | None = None,
) -> Scores:
    """All scores of an evaluation; `concept` is the detector's own name, `second` the second of two judges."""
    about = [record for record in records if record.case.register in ERASED_REGISTERS]
    unrelated = [record for record in records if record.case.register == KEPT]
    return Scores(
        concept=concept,
        erased=erased(about),
        kept=Kept(
            concepts=kept_concepts(unrelated),
            attributes=attributes([record for record in about if record.case.register in PLAIN_REGISTERS]),
            other_subject=other_subject(about),
        ),
        false_alarms=before_after(
            [record.before.judgement.shown[concept] for record in unrelated],
            [record.after.judgement.shown[concept] for record in unrelated],
        ),
        drift=drift(unrelated),
        motion=motion(about, unrelated),
        quality=Quality(
            sharpness=change(records, lambda look: look.sharpness),
            confidence=change(unrelated, lambda look: look.judgement.confidence),
        ),
        summary=summary(about, unrelated),
        never_knew=never_knew,
        comes_back=comes_back,
        settings=settings,
        seconds=seconds,
        instead=instead(about),
        second_judge=None if second is None else second_judgement(about, unrelated, second),
        evaluation_version=EVALUATION_VERSION,
        measured_at=measured_at,
    )


def erased(about: Sequence[Record]) -> ErasedRates:
    """The rate of clips that show the concept, by register, over all, and by frame."""
    registers = {
        register: _shown([record for record in about if record.case.register == register]) for register in ERASED_REGISTERS
    }
    return ErasedRates(**registers, all=_shown(about), by_frame=by_frame(about))


def by_frame(about: Sequence[Record]) -> ByFrame | None:
    """The rate by frame index before and after; a positive trend after means that the concept returns late in the clip."""
    if not about:
        return None
    before = _by_column([record.before.judgement.frames[record.concept] for record in about])
    frames = [record.after.judgement.frames[record.concept] for record in about]
    after = _by_column(frames)
    return ByFrame(
        before=before,
        after=after,
        interval=tuple(wilson_interval(sum(column), len(about)) for column in zip(*frames, strict=True)),
        trend_before=trend(before),
        trend=trend(after),
    )


def kept_concepts(unrelated: Sequence[Record]) -> KeptConcepts | None:
    """The rate at which clips of other concepts show what was asked for, and its ratio to the rate before."""
    unrelated = [record for record in unrelated if record.concept]
    pooled = _shown(unrelated)
    if pooled is None:
        return None
    names = sorted({record.concept for record in unrelated})
    single = {name: _shown([record for record in unrelated if record.concept == name]) for name in names}
    before = [record.before.judgement.shown[record.concept] for record in unrelated]
    after = [record.after.judgement.shown[record.concept] for record in unrelated]
    return KeptConcepts(
        **_fields(pooled),
        relative=paired_ratio(before, after),
        by_concept={name: rate for name, rate in single.items() if rate is not None},
    )


def attributes(about: Sequence[Record]) -> dict[str, Rate | None]:
    """How often the other facts of the concept's own prompts are as asked; None where the detector reports none.

    How an empty scene moves cannot be asked, so of motion only clips count in which something stands there afterwards.
    """
    found = {name: _attribute(about, name) for name in ("background", "motion", "style")}
    subject = _facts_shown([record for record in about if record.concept != record.case.facts.get("subject")])
    return {**found, **({"subject": subject} if subject else {})}


def other_subject(about: Sequence[Record]) -> Rate | None:
    """In prompts with two subjects: how often the other one is shown."""
    return _facts_shown([record for record in about if record.case.register == "two_subject"])


def drift(unrelated: Sequence[Record]) -> Drift | None:
    """How far clips of other concepts moved from those of the base model with the same seed: mean SSIM and L1."""
    if not unrelated:
        return None
    count = len(unrelated)
    likeness, distance = (sum(getattr(record, name) for record in unrelated) / count for name in ("ssim", "l1"))
    return Drift(ssim=likeness, l1=distance, clips=count)


def motion(about: Sequence[Record], unrelated: Sequence[Record]) -> Motion:
    """How much the clips move: all of them, those that ask for the concept, and those that do not.

    Clips that lose the concept also lose its motion; that is expected. Other clips that freeze are damage.
    """
    overall = change([*about, *unrelated], lambda look: look.motion)
    concept, kept = (change(part, lambda look: look.motion) for part in (about, unrelated))
    return Motion(**_fields(overall), concept=concept, kept=kept)


def change(records: Sequence[Record], of: Callable[[Look], float]) -> Change:
    """Means of a measure before and after, and their ratio."""
    before, after = [of(record.before) for record in records], [of(record.after) for record in records]
    if not before:
        return Change(before=None, after=None, ratio=None, interval=None)
    ratio = paired_ratio(before, after)
    return Change(before=sum(before) / len(before), after=sum(after) / len(after), **_fields(ratio))


def summary(about: Sequence[Record], unrelated: Sequence[Record]) -> Summary:
    """The share of the concept that is gone and the share of the rest that is kept, relative to base; and their product.

    The product is 0 for an erasure that does nothing and for one that destroys everything.
    """
    pooled, kept = _shown(about), kept_concepts(unrelated)
    gone = None if not pooled or not pooled.before else min(1.0, max(0.0, 1 - pooled.after / pooled.before))
    share = None if kept is None or kept.relative.ratio is None else min(1.0, kept.relative.ratio)
    return Summary(gone=gone, kept=share, gone_and_kept=None if gone is None or share is None else gone * share)


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, to build a larger one from them."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _shown(records: Sequence[Record]) -> Rate | None:
    return before_after(
        [record.before.judgement.shown[record.concept] for record in records],
        [record.after.judgement.shown[record.concept] for record in records],
    )


def _facts_shown(records: Sequence[Record]) -> Rate | None:
    """The rate at which the subject among a prompt's facts is shown."""
    asked = [(record, record.case.facts.get("subject", "")) for record in records]
    known = [(record, name) for record, name in asked if name in record.before.judgement.shown]
    return before_after(
        [record.before.judgement.shown[name] for record, name in known],
        [record.after.judgement.shown[name] for record, name in known],
    )


def _attribute(records: Sequence[Record], name: str) -> Rate | None:
    asked = [
        record
        for record in records
        if name in record.case.facts
        and name in record.before.judgement.attributes
        and record.case.facts[name] != record.concept
        and not (name == "motion" and _is_empty(record.after))
    ]
    return before_after(
        [record.before.judgement.attributes[name] == record.case.facts[name] for record in asked],
        [record.after.judgement.attributes[name] == record.case.facts[name] for record in asked],
    )


def _is_empty(look: Look) -> bool:
    return look.standing is not None and look.standing.kind == "empty"


def _by_column(frames: Sequence[Sequence[bool]]) -> tuple[float, ...]:
    return tuple(sum(column) / len(column) for column in zip(*frames, strict=True))
