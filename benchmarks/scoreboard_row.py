"""Measures a row of the scoreboard: one method on one concept, with the attacks of the plan."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.board_plan import REGROWTH_STEPS, Cell, attacks_on, is_regrown, settings_for
from benchmarks.memory_peak import peak_memory
from benchmarks.methods import Method, neighbours_of
from benchmarks.scoreboard_numbers import clip_seconds, numbers
from t2vu_core.erasure import atomic_path
from t2vu_core.evaluation import Detector, EvaluationSettings, evaluate
from t2vu_core.evaluation.cases import PromptSet
from t2vu_core.evaluation.settings import EvaluationCallback
from t2vu_core.mixed_precision import fast_bf16
from t2vu_core.model import T2VModel
from t2vu_core.scores import AttackScores


def finished(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The row in this file; made and stored if it is missing."""
    if not path.is_file():
        row = make()
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(row), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def measure(
    method: Method,
    model: T2VModel,
    detector: Detector,
    cell: Cell,
    settings: EvaluationSettings,
    *,
    probe: bool,
    out: Path,
    prompts: PromptSet | None,
    on_progress: EvaluationCallback | None = None,
) -> dict[str, Any]:
    """Apply one method to one concept and evaluate it; clips are kept under `out`, where all rows share base's.

    `prompts` has no default, so that a script that chooses settings cannot measure by omission: it gives the development
    prompts, and the scoreboard those that measure. None stands for the shipped ones, which measure.
    """
    name, concept, seed = cell
    start = time.monotonic()
    with peak_memory(model.family.device) as peak:
        erased = method.apply(model, concept, seed)
    attacks = attacks_on(cell) if probe else ()
    evaluation = evaluate(
        erased.model, concept, before=model, detector=detector, prompts=prompts,
        settings=settings_for(cell, settings) if attacks else settings, attacks=attacks, out=out, on_progress=on_progress,
    )  # fmt: skip
    what = {"method": name, "concept": concept, "training_seed": seed, "model_hash": erased.model.base.hash}
    regrown = _regrown(erased.model, model, detector, cell, settings, prompts, out) if probe else None
    seconds = {
        "train_seconds": round(erased.train_seconds, 1),
        "train_memory_mib": peak.mib if method.trained else None,
        "clip_seconds": clip_seconds(erased.model, settings),
        "train_precision": _precision(model) if method.trained else None,
        "row_seconds": round(time.monotonic() - start, 1),
    }
    near = {known for each in neighbours_of(model, concept) if (known := detector.resolve(each))}
    found = numbers(evaluation, near, cheap_steps=settings.attack_steps)
    if regrown is not None and regrown.after is not None:
        found["counts"]["regrowth"] = [round(regrown.after * regrown.clips), regrown.clips]
    return {**what, **found, "regrowth": regrown and regrown.after, **seconds}


def _precision(model: T2VModel) -> str:
    """What passes of a training run are computed in on this machine."""
    return "bf16" if fast_bf16(model.family.device) else "float32"


def regrowth_control(
    model: T2VModel, detector: Detector, cell: Cell, settings: EvaluationSettings, out: Path, prompts: PromptSet | None
) -> float | None:
    """What the base's clips show after the fine-tuning of this row; it is in `out` since the row was measured."""
    found = _regrown(model, model, detector, cell, settings, prompts, out)
    return None if found is None else found.after


def _regrown(
    erased: T2VModel, model: T2VModel, detector: Detector, cell: Cell, settings: EvaluationSettings,
    prompts: PromptSet | None, out: Path,
) -> AttackScores | None:  # fmt: skip
    """What clips show after benign fine-tuning, for the rows of the plan; None for the others.

    The clips of the row's evaluation are in `out`, so this only adds the fine-tuning.
    """
    if not is_regrown(cell):
        return None
    longer = dataclasses.replace(settings, attack_steps=REGROWTH_STEPS)
    evaluation = evaluate(
        erased, cell[1], before=model, detector=detector, prompts=prompts, settings=longer, attacks=("regrowth",), out=out
    )
    return evaluation.scores.comes_back["regrowth"]
