"""Records of what the clips show, one per case, from which all rates are counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from t2vu_core.evaluation import measures
from t2vu_core.evaluation.cases import Case
from t2vu_core.evaluation.detectors.base import Judgement
from t2vu_core.evaluation.instead import Standing


@dataclass(frozen=True)
class Look:
    """One clip: the detector's judgement, and measures that need no detector."""

    judgement: Judgement
    motion: float
    sharpness: float
    standing: Standing | None = None
    """What stands there, if the clip was to show the concept and its world is known."""


@dataclass(frozen=True)
class Record:
    """One case, before and after; `concept` is the detector's own name of what the case asks for.

    It is empty for a prompt to keep that the detector cannot judge.
    """

    case: Case
    concept: str
    before: Look
    after: Look
    ssim: float
    l1: float
    before_key: str = ""
    after_key: str = ""


def look(clips: Tensor, judgements: Sequence[Judgement], standings: Sequence[Standing | None] | None = None) -> list[Look]:
    """Measure clips (B, F, 3, H, W) and combine the measures with the judgements."""
    standings = standings or [None] * len(clips)
    rows = zip(judgements, measures.motion(clips).tolist(), measures.sharpness(clips).tolist(), standings, strict=True)
    return [Look(*row) for row in rows]
