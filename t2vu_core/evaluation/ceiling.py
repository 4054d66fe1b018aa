"""The ceiling of an erasure: a model that was trained without the concept, on the same prompts and seeds."""

from __future__ import annotations

from collections.abc import Sequence

from t2vu_core.errors import UserError
from t2vu_core.evaluation.cases import ERASED_REGISTERS, KEPT
from t2vu_core.evaluation.records import Record
from t2vu_core.evaluation.scoring import kept_concepts
from t2vu_core.evaluation.statistics import compare, wilson_interval
from t2vu_core.model import T2VModel
from t2vu_core.scores import NeverKnew, NeverKnewRate


def check_ceiling(never_knew: T2VModel, before: T2VModel) -> None:
    """Raises UserError if the clips of the two models differ in size."""
    own, asked = never_knew.clip_size(), before.clip_size()
    if own != asked:
        raise UserError(
            f"The model that never knew the concept makes clips of {own.width} x {own.height} x {own.num_frames} frames, the "
            f"measured one {asked.width} x {asked.height} x {asked.num_frames}: they cannot be compared."
        )


def ceiling(erased: Sequence[Record], never: Sequence[Record], name: str) -> NeverKnew:
    """Rates of the model that never knew the concept, and whether the erased one differs from it.

    `erased` and `never` are records of the same cases, each against the same model before. A difference is the
    erased model's rate minus the other's.
    """
    groups: dict[str, Sequence[str]] = {**{register: (register,) for register in ERASED_REGISTERS}, "all": ERASED_REGISTERS}
    return NeverKnew(
        model=name,
        erased={title: _compared(erased, never, registers) for title, registers in groups.items()},
        kept=kept_concepts([record for record in never if record.case.register == KEPT]),
    )


def _compared(erased: Sequence[Record], never: Sequence[Record], registers: Sequence[str]) -> NeverKnewRate | None:
    ours, theirs = (
        [record.after.judgement.shown[record.concept] for record in records if record.case.register in registers]
        for records in (erased, never)
    )
    if not theirs:
        return None
    return NeverKnewRate(
        rate=sum(theirs) / len(theirs),
        clips=len(theirs),
        interval=wilson_interval(sum(theirs), len(theirs)),
        against=compare(theirs, ours),
    )
