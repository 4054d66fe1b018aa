"""Evaluates into a folder: clips, report and scores, and the erasure that carries the scores."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from t2vu_core.erasure import Erasure, atomic_path, check_writable
from t2vu_core.evaluation.evaluate import EvaluateOptions, Evaluation, evaluate
from t2vu_core.evaluation.report.evidence import write_evidence
from t2vu_core.evaluation.report.page import write_report
from t2vu_core.model import T2VModel


@dataclass(frozen=True)
class Evaluated:
    """An evaluation and what was written of it."""

    evaluation: Evaluation
    report: Path
    evidence: Path
    """One sheet for printing: what was tested, with which result, and what was not."""
    erasure: Erasure | None
    """The model's erasure with the scores, if it is the only one, at strength 1 and without a guard."""


def evaluate_to(
    folder: Path, model: T2VModel, concept: str, *, shared: bool = False, **options: Unpack[EvaluateOptions]
) -> Evaluated:
    """Evaluate as `evaluate` does, and write report.html, evidence.html and scores.json into the folder, next to the clips.

    In a `shared` folder the names of the files carry the hash of the measured model, so that erasures of one concept keep
    their own reports. Raises UserError as `evaluate` does, or if the folder cannot be written to.
    """
    check_writable(folder / "report.html")
    evaluation = evaluate(model, concept, out=folder, **options)
    suffix = f"-{evaluation.scores.settings.after_hash[:8]}" if shared else ""
    erasures = [applied.erasure for applied in model.erasures]
    report = write_report(evaluation, folder / f"report{suffix}.html", erasures=erasures, fps=model.family.defaults.fps)
    evidence = write_evidence(evaluation.scores, folder / f"evidence{suffix}.html", erasures=erasures)
    with atomic_path(folder / f"scores{suffix}.json") as temporary:
        temporary.write_text(json.dumps(evaluation.scores.to_json(), indent=1), encoding="utf-8")
    return Evaluated(evaluation, report, evidence, model.sole_erasure and model.sole_erasure.with_scores(evaluation.scores))
