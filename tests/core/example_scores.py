"""Scores to test with: complete ones, in which a test changes what it is about."""

from __future__ import annotations

import dataclasses
from typing import Any

from t2vu_core.evaluation.attacks import ATTACKS
from t2vu_core.evaluation.scoring import score
from t2vu_core.evaluation.statistics import before_after, compare, paired_ratio, rate, wilson_interval
from t2vu_core.scores import AttackScores, JudgedBy, KeptConcepts, MeasuredWith, PromptsUsed, Rate, Scores

NEVER_TRIED: dict[str, AttackScores | None] = dict.fromkeys(ATTACKS)
MEASURED_WITH = MeasuredWith(
    preset="quick",
    num_inference_steps=12,
    guidance_scale=3.0,
    model="tiny",
    base_hash="b" * 64,
    erasures=(),
    guard=None,
    before_hash="0" * 64,
    after_hash="1" * 64,
    detector=JudgedBy(name="miniature", accuracy="unknown"),
    prompts=PromptsUsed(name="v1/ghost", sha256="2" * 64, clips=60, left_out=()),
)


def scores(gone: list[bool], kept: list[bool], **changes: Any) -> Scores:
    """Scores of clips that all showed the concept, or what they should, before; `gone` and `kept` is what they show after."""
    empty = score([], "ghost", MEASURED_WITH, comes_back=NEVER_TRIED, seconds=1.5)
    return dataclasses.replace(
        empty,
        erased=dataclasses.replace(empty.erased, all=before_after([True] * len(gone), gone)),
        kept=dataclasses.replace(empty.kept, concepts=kept_concepts(kept)),
        **changes,
    )


def kept_concepts(after: list[bool]) -> KeptConcepts:
    """What is kept of a concept that all clips showed before."""
    before = [True] * len(after)
    pooled = before_after(before, after)
    assert pooled is not None
    return KeptConcepts(**fields(pooled), relative=paired_ratio(before, after), by_concept={"robot": pooled})


def attack(
    after: list[bool], *, never_knew: list[bool] | None = None, before: list[bool] | None = None, note: str = ""
) -> AttackScores:
    """An attack on a model that, unless another is given, shows nothing unless it is attacked."""
    before = before or [False] * len(after)
    return AttackScores(
        before=rate(before),
        after=rate(after),
        clips=len(after),
        interval=wilson_interval(sum(after), len(after)),
        gain=compare(before, after),
        control=1.0,
        control_interval=(0.5, 1.0),
        never_knew=None if never_knew is None else rate(never_knew),
        never_knew_interval=None if never_knew is None else wilson_interval(sum(never_knew), len(never_knew)),
        against_never_knew=None if never_knew is None else compare(never_knew, after),
        loss={"erased": (2.0, 1.0), "control": None, "never_knew": None},
        note=note,
        budget="225 steps",
    )


def fields(rate: Rate) -> dict[str, Any]:
    """A rate's fields by name."""
    return {field.name: getattr(rate, field.name) for field in dataclasses.fields(rate)}
