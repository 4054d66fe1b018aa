"""From records to scores: what was erased, what was kept, each rate with its clips and its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from t2vu_core.evaluation.cases import ERASED_REGISTERS, KEPT
from t2vu_core.evaluation.records import Look, Record
from t2vu_core.evaluation.statistics import before_after, paired_ratio, trend, wilson_interval

# Two-subject prompts are counted apart: there the other subject is the question.
PLAIN_REGISTERS = ("terse", "synonym", "refined")


def score(records: Sequence[Record], concept: str) -> dict[str, Any]:
    """All rates and measures of an evaluation, as JSON values; null where nothing was asked."""
    about = [record for record in records if record.case.register in ERASED_REGISTERS]
    unrelated = [record for record in records if record.case.register == KEPT]
    return {
        "erased": erased(about),
        "kept": {
            "concepts": kept_concepts(unrelated),
            "attributes": attributes([record for record in about if record.case.register in PLAIN_REGISTERS]),
            "other_subject": other_subject(about),
        },
        "false_alarms": before_after(
            [record.before.judgement.shown[concept] for record in unrelated],
            [record.after.judgement.shown[concept] for record in unrelated],
        ),
        "drift": drift(unrelated),
        "motion": motion(about, unrelated),
        "quality": {
            "sharpness": ratio(records, lambda look: look.sharpness),
            "confidence": ratio(unrelated, lambda look: look.judgement.confidence),
        },
        "summary": summary(about, unrelated),
    }


def erased(about: Sequence[Record]) -> dict[str, Any]:
    """Rate of clips that show the concept, for each register, over all, and by frame."""
    registers = {
        register: _shown([record for record in about if record.case.register == register]) for register in ERASED_REGISTERS
    }
    return {**registers, "all": _shown(about), "by_frame": by_frame(about)}


def by_frame(about: Sequence[Record]) -> dict[str, Any] | None:
    """Rate per frame index before and after; a positive trend after says that the concept comes back late."""
    if not about:
        return None
    before = [record.before.judgement.frames[record.concept] for record in about]
    after = [record.after.judgement.frames[record.concept] for record in about]
    count = len(about)
    rates = {"before": _by_column(before), "after": _by_column(after)}
    intervals = [list(wilson_interval(sum(column), count)) for column in zip(*after, strict=True)]
    return {**rates, "interval": intervals, "trend_before": trend(rates["before"]), "trend": trend(rates["after"])}


def kept_concepts(unrelated: Sequence[Record]) -> dict[str, Any] | None:
    """Rate at which clips of other concepts show what they should, and what share of base's rate that is."""
    unrelated = [record for record in unrelated if record.concept]
    pooled = _shown(unrelated)
    if pooled is None:
        return None
    names = sorted({record.concept for record in unrelated})
    single = {name: _shown([record for record in unrelated if record.concept == name]) for name in names}
    before = [record.before.judgement.shown[record.concept] for record in unrelated]
    after = [record.after.judgement.shown[record.concept] for record in unrelated]
    return {**pooled, "relative": paired_ratio(before, after), "by_concept": single}


def attributes(about: Sequence[Record]) -> dict[str, Any]:
    """How often the other facts of the concept's own prompts are as asked; null where the detector sees none."""
    found = {name: _attribute(about, name) for name in ("background", "motion", "style")}
    subject = _facts_shown([record for record in about if record.concept != record.case.facts.get("subject")])
    return {**found, **({"subject": subject} if subject else {})}


def other_subject(about: Sequence[Record]) -> dict[str, Any] | None:
    """In two-subject prompts: how often the other one is there."""
    return _facts_shown([record for record in about if record.case.register == "two_subject"])


def drift(unrelated: Sequence[Record]) -> dict[str, Any] | None:
    """How far clips of other concepts moved from base's with the same seed: SSIM (1: not at all), mean L1 (0)."""
    if not unrelated:
        return None
    count = len(unrelated)
    likeness, distance = (sum(getattr(record, name) for record in unrelated) / count for name in ("ssim", "l1"))
    return {"ssim": likeness, "l1": distance, "clips": count}


def motion(about: Sequence[Record], unrelated: Sequence[Record]) -> dict[str, Any]:
    """How much the clips move, over all of them, and apart: `concept` those that ask for it, `kept` those that do not.

    Apart because what leaves with the concept takes its own motion away, which is no damage; frozen video is.
    """
    over = {"concept": about, "kept": unrelated}
    apart = {name: ratio(records, lambda look: look.motion) for name, records in over.items()}
    return {**ratio([*about, *unrelated], lambda look: look.motion), **apart}


def ratio(records: Sequence[Record], of: Callable[[Look], float]) -> dict[str, Any]:
    """Means before and after, and their ratio: of motion, so that frozen video is seen; of sharpness, of confidence."""
    before, after = [of(record.before) for record in records], [of(record.after) for record in records]
    if not before:
        return {"before": None, "after": None, "ratio": None, "interval": None}
    return {"before": sum(before) / len(before), "after": sum(after) / len(after), **paired_ratio(before, after)}


def summary(about: Sequence[Record], unrelated: Sequence[Record]) -> dict[str, Any]:
    """Two shares of base's rates: of the concept what is gone, of the rest what is kept; and their product.

    The product is 0 for an erasure that does nothing and for one that destroys everything.
    """
    pooled, kept = _shown(about), kept_concepts(unrelated)
    gone = None if not pooled or not pooled["before"] else min(1.0, max(0.0, 1 - pooled["after"] / pooled["before"]))
    share = None if kept is None or kept["relative"]["ratio"] is None else min(1.0, kept["relative"]["ratio"])
    return {"gone": gone, "kept": share, "gone_and_kept": None if gone is None or share is None else gone * share}


def _shown(records: Sequence[Record]) -> dict[str, Any] | None:
    return before_after(
        [record.before.judgement.shown[record.concept] for record in records],
        [record.after.judgement.shown[record.concept] for record in records],
    )


def _facts_shown(records: Sequence[Record]) -> dict[str, Any] | None:
    """The same for the subject among a prompt's facts."""
    asked = [(record, record.case.facts.get("subject", "")) for record in records]
    known = [(record, name) for record, name in asked if name in record.before.judgement.shown]
    return before_after(
        [record.before.judgement.shown[name] for record, name in known],
        [record.after.judgement.shown[name] for record, name in known],
    )


def _attribute(records: Sequence[Record], name: str) -> dict[str, Any] | None:
    asked = [
        record
        for record in records
        if name in record.case.facts
        and name in record.before.judgement.attributes
        and record.case.facts[name] != record.concept
    ]
    return before_after(
        [record.before.judgement.attributes[name] == record.case.facts[name] for record in asked],
        [record.after.judgement.attributes[name] == record.case.facts[name] for record in asked],
    )


def _by_column(frames: Sequence[Sequence[bool]]) -> list[float]:
    return [sum(column) / len(column) for column in zip(*frames, strict=True)]
