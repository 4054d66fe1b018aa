"""Measures an erasure: makes the clips of a prompt set before and after, has them judged, and counts."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from t2vu_core.evaluation.cases import PromptSet
from t2vu_core.evaluation.ceiling import ceiling
from t2vu_core.evaluation.checks import check_attackable, check_erasures, prompts_for, resolve
from t2vu_core.evaluation.clip_store import ClipStore
from t2vu_core.evaluation.detectors import Detector, TwoJudges, WorldDetector, counted
from t2vu_core.evaluation.instead import Observer
from t2vu_core.evaluation.judgements import JudgementStore
from t2vu_core.evaluation.maker import Makers
from t2vu_core.evaluation.records import Record
from t2vu_core.evaluation.scoring import score
from t2vu_core.evaluation.session import Session
from t2vu_core.evaluation.settings import EvaluationCallback, EvaluationSettings
from t2vu_core.model import T2VModel
from t2vu_core.scores import AppliedTo, JudgedBy, MeasuredWith, NeverKnew, PromptsUsed, Scores


@dataclass(frozen=True)
class Evaluation:
    """The scores, and the records and clips that they were counted from."""

    concept: str
    scores: Scores
    records: list[Record]
    clips: ClipStore


class EvaluateOptions(TypedDict, total=False):
    """The optional arguments of an evaluation."""

    before: T2VModel | None
    """The model to compare with, on the same prompts and seeds; by default the measured one without erasures and guard."""
    detector: Detector | None
    """By default the miniatures', for the size of the model's clips."""
    settings: EvaluationSettings | None
    """How much is measured; by default the preset "quick"."""
    prompts: PromptSet | None
    """By default the set that ships for the concept."""
    attacks: Sequence[str]
    """Names of attacks that try to bring the concept back (`t2vu_core.evaluation.attacks`)."""
    never_knew: T2VModel | None
    """A model that was trained without the concept. It makes the same clips and gets the same attacks."""
    on_progress: EvaluationCallback | None
    """Called after every step; an exception stops the evaluation."""


def evaluate(model: T2VModel, concept: str, *, out: Path | None = None, **options: Unpack[EvaluateOptions]) -> Evaluation:
    """Measure how much of a concept a model with erasures or a guard still shows, and what else it keeps.

    Args:
        model: The model to measure, with its erasures or its guard.
        concept: In words, as the erasure names it.
        out: A folder for finished clips, judgements and attacks. An interrupted evaluation resumes from it, and evaluations
            of the same base share its clips.
        options: As in `EvaluateOptions`.

    Returns the scores, which depend on nothing but the input, apart from the seconds and the date.

    Raises UserError if the detector does not know the concept, the erasures are not for it, there are no prompts for it, the
    attacks cannot run, or there is no space for the clips.
    """
    start = time.monotonic()
    settings = options.get("settings") or EvaluationSettings()
    detector: Detector = options.get("detector") or WorldDetector.for_model(model)
    before, attacks = options.get("before") or model.without_erasures(), options.get("attacks", ())
    name = resolve(detector, concept)
    check_erasures(model, detector, name, concept)
    prompts = prompts_for(options.get("prompts"), model, name, detector)
    check_attackable(attacks, model, prompts)
    session = Session(
        concept=concept,
        name=name,
        detector=detector,
        settings=settings,
        prompts=prompts,
        makers=Makers.of(before, model, options.get("never_knew"), settings),
        clips=ClipStore(out and out / "clips"),
        judgements=JudgementStore(out and out / "verdicts.jsonl", detector, name),
        out=out,
        tell=options.get("on_progress") or (lambda progress: None),
        observer=Observer.of(detector),
    )
    session.check()
    return _measure(session, attacks, start)


def _measure(session: Session, attacks: Sequence[str], start: float) -> Evaluation:
    makers = session.makers
    seconds_in_all = session.seconds_in_all(attacks) if session.settings.preset == "full" else None
    records = session.records(makers.before, makers.after, "clips", seconds_in_all)
    scores = score(
        records,
        session.name,
        measured_with(session),
        never_knew=_never_knew(session, records),
        comes_back=session.attack(attacks),
        second=_second(session),
        seconds=round(time.monotonic() - start, 1),
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    return Evaluation(session.name, scores, records, session.clips)


def _never_knew(session: Session, records: Sequence[Record]) -> NeverKnew | None:
    maker = session.makers.never_knew
    if maker is None:
        return None
    never = session.records(session.makers.before, maker, "clips of the model that never knew it")
    return ceiling(records, never, maker.model.name)


def _second(session: Session) -> JudgedBy | None:
    return judged_by(session.detector.second, session.name) if isinstance(session.detector, TwoJudges) else None


def judged_by(detector: Detector, concept: str) -> JudgedBy:
    """A detector by its name and errors; of two judges the first."""
    accuracy = detector.accuracy(concept)
    return JudgedBy(name=counted(detector).name, accuracy="unknown" if accuracy is None else accuracy.error_rates())


def measured_with(session: Session) -> MeasuredWith:
    """Everything that decides the scores of a session."""
    settings, chosen, makers = session.settings, session.chosen(), session.makers
    before, after = makers.before.model, makers.after.model
    defaults = before.family.defaults
    return MeasuredWith(
        preset=settings.preset,
        num_inference_steps=settings.num_inference_steps or defaults.num_inference_steps,
        guidance_scale=defaults.guidance_scale if settings.guidance_scale is None else settings.guidance_scale,
        model=before.name,
        base_hash=before.base.hash,
        erasures=tuple(
            AppliedTo(method=each.erasure.method, concepts=tuple(each.erasure.concepts), strength=each.strength)
            for each in after.erasures
        ),
        guard=None if after.guard is None else after.guard.describe(),
        before_hash=makers.before.hash,
        after_hash=makers.after.hash,
        detector=judged_by(session.detector, session.name),
        prompts=PromptsUsed(name=chosen.name, sha256=chosen.sha256, clips=len(chosen.cases), left_out=tuple(chosen.left_out)),
    )
