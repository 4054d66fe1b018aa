"""From records to what stands there instead of the concept, and to what a second judge says of the same clips."""

from __future__ import annotations

from collections.abc import Sequence

from t2vu_core.evaluation.instead import Standing, subjects_of
from t2vu_core.evaluation.records import Record
from t2vu_core.evaluation.statistics import before_after, wilson_interval
from t2vu_core.scores import Instead, JudgedBy, Rate, Realism, SecondJudgement

UNSEEN_RENDERS = 1.0
"""The unit of `Standing.distance`: the mean distance of renders that are not among those compared with."""


def instead(about: Sequence[Record]) -> Instead | None:
    """What stands in the clips that ask for the concept; None if that was not judged."""
    pairs = [
        (record.before.standing, record.after.standing)
        for record in about
        if record.before.standing is not None and record.after.standing is not None
    ]
    if not pairs:
        return None
    before, after = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    debris = sum(not each.natural for each in after)
    return Instead(
        natural=1 - debris / len(after),
        debris=debris / len(after),
        empty=sum(each.kind == "empty" for each in after) / len(after),
        subjects=subjects_of(after),
        natural_before=sum(each.natural for each in before) / len(before),
        debris_before=sum(not each.natural for each in before) / len(before),
        debris_interval=wilson_interval(debris, len(after)),
        clips=len(after),
        realism=_realism(before, after),
    )


def second_judgement(about: Sequence[Record], unrelated: Sequence[Record], judge: JudgedBy) -> SecondJudgement | None:
    """The second judge's rates, and how often the two differ; None if it has judged no clip."""
    every = [record for record in (*about, *unrelated) if record.concept]
    looks = [(look.judgement, record.concept) for record in every for look in (record.before, record.after)]
    if not looks or any(concept not in judgement.second for judgement, concept in looks):
        return None
    differ = sum(judgement.shown[concept] != judgement.second[concept] for judgement, concept in looks)
    kept = [record for record in unrelated if record.concept]
    return SecondJudgement(
        judge=judge, erased=_rate(about), kept=_rate(kept), differ=differ / len(looks), clips=len(looks)
    )  # fmt: skip


def _rate(records: Sequence[Record]) -> Rate | None:
    return before_after(
        [record.before.judgement.second[record.concept] for record in records],
        [record.after.judgement.second[record.concept] for record in records],
    )


def _realism(before: Sequence[Standing], after: Sequence[Standing]) -> Realism | None:
    distances = [[each.distance for each in part if each.distance is not None] for part in (before, after)]
    if not all(distances):
        return None
    means = [sum(part) / len(part) for part in distances]
    return Realism(before=means[0], after=means[1], renders=UNSEEN_RENDERS)
