"""The attacks of an evaluation: run once a model, kept in the evaluation's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2vu_core.erasure import atomic_path
from t2vu_core.evaluation.attacks import ATTACKS, AttackBudget, Target, run_attacks
from t2vu_core.evaluation.cases import PromptSet
from t2vu_core.evaluation.clip_store import clip_key
from t2vu_core.evaluation.detectors import Detector
from t2vu_core.evaluation.maker import Maker
from t2vu_core.evaluation.settings import EvaluationCallback, EvaluationProgress
from t2vu_core.model import T2VModel


@dataclass(frozen=True)
class Attacked:
    """What the attacks go for."""

    concept: str
    name: str
    detector: Detector
    prompts: PromptSet
    never_knew: T2VModel | None


def attacked(
    names: Sequence[str],
    makers: tuple[Maker, Maker],
    what: Attacked,
    out: Path | None,
    on_progress: EvaluationCallback | None,
) -> dict[str, Any]:
    """Results of the named attacks; those that a folder holds already for the same model are not repeated."""
    results: dict[str, Any] = dict.fromkeys(ATTACKS)
    budget = AttackBudget()
    before, after = (maker.model for maker in makers)
    for number, name in enumerate(names):
        if on_progress:
            on_progress(EvaluationProgress("attacks", number, len(names)))
        key = clip_key(" ".join(maker.hash for maker in makers), name, 0, {"budget": budget.describe()})
        kept = None if out is None else out / "attacks" / f"{key}.json"
        if kept is not None and kept.is_file():
            results[name] = json.loads(kept.read_text(encoding="utf-8"))
            continue
        target = Target.of(what.concept, what.name, before, what.detector, what.prompts, budget)
        results[name] = run_attacks([name], after, target, never_knew=what.never_knew)[name]
        if kept is not None:
            with atomic_path(kept) as temporary:
                temporary.write_text(json.dumps(results[name], indent=1), encoding="utf-8")
    return results
