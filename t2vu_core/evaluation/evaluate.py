"""The meter: makes the clips of a prompt set before and after, has them judged, and counts."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from t2vu_core.errors import UserError
from t2vu_core.evaluation.attacks import AttackBudget, check_attacks, terse_cases
from t2vu_core.evaluation.attacks.run import NOTHING, Attacked, attack_seconds, attacked
from t2vu_core.evaluation.cases import PromptSet, built_in, with_clean
from t2vu_core.evaluation.ceiling import ceiling, check_ceiling
from t2vu_core.evaluation.clip_store import ClipStore, generate, weights_hash
from t2vu_core.evaluation.detectors import Detector, WorldDetector
from t2vu_core.evaluation.judgements import VerdictStore
from t2vu_core.evaluation.maker import Maker
from t2vu_core.evaluation.measures import l1_distance, ssim
from t2vu_core.evaluation.records import Record, look
from t2vu_core.evaluation.scores import score
from t2vu_core.evaluation.settings import EvaluationCallback, EvaluationProgress, EvaluationSettings
from t2vu_core.model import SampleStep, T2VModel

log = logging.getLogger(__name__)

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Evaluation:
    """What was measured: the scores as JSON values, and the records and clips that they were counted from."""

    concept: str
    scores: dict[str, Any]
    records: list[Record]
    clips: ClipStore


def evaluate(
    model: T2VModel,
    concept: str,
    *,
    before: T2VModel | None = None,
    detector: Detector | None = None,
    settings: EvaluationSettings | None = None,
    prompts: PromptSet | None = None,
    attacks: Sequence[str] = (),
    never_knew: T2VModel | None = None,
    out: Path | None = None,
    on_progress: EvaluationCallback | None = None,
) -> Evaluation:
    """Measure what a model with erasures, or under a guard, shows of a concept, and what it keeps.

    `before` is the model without (by default the same without its erasures and guard); both make the same prompts with
    the same seeds. `detector` is by default the miniature's, `prompts` the set that ships for the concept. `attacks`
    (see `t2vu_core.evaluation.attacks`) try to bring the concept back. `never_knew`, a model that was trained without the
    concept, makes the same clips and bears the same attacks: it says what "as if never learned" is. With `out`,
    finished clips, verdicts and attacks are kept there: an interrupted evaluation goes on where it stopped, and base's
    clips are shared between evaluations. The same input gives the same scores, apart from the seconds.

    Raises UserError for a concept that the detector does not know or that the erasures are not for, for a
    concept without prompts, and where there is no space for the clips.
    """
    start = time.monotonic()
    settings = settings or EvaluationSettings()
    detector = detector or WorldDetector.bundled()
    before = before or model.without_erasures()
    name = resolve(detector, concept)
    _check_erasures(model, detector, name, concept)
    whole = _prompts(prompts, name, detector).apart_from(name, _also_erased(model, detector, name), detector.resolve)
    _check_attacks(attacks, model, whole)
    chosen = whole.first(settings.per_register, settings.kept, settings.rounds)
    makers, unknowing = _makers(before, model, never_knew, settings)
    store, verdicts = ClipStore(out and out / "clips"), VerdictStore(out and out / "verdicts.jsonl", detector, name)
    verdicts.check(chosen.cases)
    _check_space(store, [*makers, *unknowing], chosen)
    measure = partial(_records, prompts=chosen, store=store, verdicts=verdicts, settings=settings, on_progress=on_progress)
    budget = attack_budget(settings, before)
    in_all = _in_all([*makers, *unknowing], chosen, store, attacks, budget) if settings.preset == "full" else None
    records = list(measure(makers, stage="clips", in_all=in_all))
    never = [list(measure((makers[0], maker), stage="clips of the model that never knew it")) for maker in unknowing]
    what = Attacked(concept, name, detector, whole, budget)
    scores = {
        "format_version": FORMAT_VERSION,
        "concept": name,
        **score(records, name),
        "never_knew": ceiling(records, never[0], unknowing[0].model.name) if never else None,
        "comes_back": attacked(attacks, [*makers, *unknowing], what, out, on_progress),
        "settings": _describe(makers, chosen, detector, name, settings),
        "seconds": round(time.monotonic() - start, 1),
    }
    return Evaluation(name, scores, records, store)


def resolve(detector: Detector, concept: str) -> str:
    """The detector's own name of a concept; UserError, with what it knows, if it has none."""
    name = detector.resolve(concept) if concept.strip() else None
    if name is None:
        known = f"it knows {', '.join(detector.known())}" if detector.known() else "describe it in words"
        raise UserError(f"The detector ({detector.name}) does not know the concept {concept!r}; {known}.")
    return name


def _check_erasures(model: T2VModel, detector: Detector, name: str, concept: str) -> None:
    erased = [text for applied in model.erasures for text in applied.erasure.concepts]
    if erased and name not in [detector.resolve(text) for text in erased] and concept not in erased:
        raise UserError(f"The erasure is for {', '.join(erased)}, not for {concept!r}; ask for what it erases.")


def _also_erased(model: T2VModel, detector: Detector, name: str) -> frozenset[str]:
    """What else the model is not to show, by the detector's own names; what the detector does not know is skipped."""
    told = [text for applied in model.erasures if applied.strength for text in applied.erasure.concepts]
    told += [] if model.guard is None else model.guard.describe().get("concepts", ())
    return frozenset(found for text in told if (found := detector.resolve(text))) - {name}


def _check_attacks(attacks: Sequence[str], model: T2VModel, prompts: PromptSet) -> None:
    """What attacks will need is asked for before the first clip, not behind the last."""
    check_attacks(attacks)
    if attacks and model.guard is not None:
        raise UserError("Attacks are on a model's weights; measure the guard without them.")
    if attacks:
        terse_cases(prompts)


def _prompts(prompts: PromptSet | None, name: str, detector: Detector) -> PromptSet:
    prompts = prompts or built_in(name)
    if prompts is None:
        raise UserError(f"No prompt set for {name!r} ships with the package; name a file with prompts for it.")
    return prompts if detector.clean_prompts is None else with_clean(prompts, detector.clean_prompts)


def attack_budget(settings: EvaluationSettings, model: T2VModel) -> AttackBudget:
    """What an attacker may spend; the clips of an attack are sampled as all others."""
    return AttackBudget(
        steps=settings.attack_steps,
        sampling_steps=settings.num_inference_steps or model.family.defaults.num_inference_steps,
        guidance_scale=settings.guidance_scale,
        measured_clips=settings.attack_clips,
    )


def _makers(
    before: T2VModel, after: T2VModel, never_knew: T2VModel | None, settings: EvaluationSettings
) -> tuple[tuple[Maker, Maker], list[Maker]]:
    """Who makes the clips before and after, and the one that never knew the concept, if there is one."""
    weights = weights_hash(before.family)
    other = weights if after.family is before.family else weights_hash(after.family)
    pair = Maker.of(before, weights, settings), Maker.of(after, other, settings)
    if never_knew is None:
        return pair, []
    check_ceiling(never_knew, before)
    unknowing = Maker.of(never_knew, weights_hash(never_knew.family), settings)
    if unknowing.hash in [maker.hash for maker in pair]:
        raise UserError(f"The model that never knew the concept is {before.name} itself; name one trained without it.")
    return pair, [unknowing]


def _check_space(store: ClipStore, makers: Sequence[Maker], prompts: PromptSet) -> None:
    missing = len({maker.key(case) for maker in makers for case in prompts.cases if maker.key(case) not in store})
    size = makers[0].model.clip_size()
    store.check_space(missing, size.num_frames * size.height * size.width * 3)


def _records(
    makers: tuple[Maker, Maker],
    *,
    stage: str,
    prompts: PromptSet,
    store: ClipStore,
    verdicts: VerdictStore,
    settings: EvaluationSettings,
    on_progress: EvaluationCallback | None,
    in_all: float | None = None,
) -> Iterator[Record]:
    total, done, start = 2 * len(prompts.cases), 0, time.monotonic()
    tell = on_progress or (lambda progress: None)
    left = _clip_seconds(makers, prompts, store) if settings.preset == "full" else None
    tell(EvaluationProgress(stage, 0, total, left, in_all))
    for first in range(0, len(prompts.cases), settings.batch_size):
        cases = prompts.cases[first : first + settings.batch_size]
        looks, clips = [], []
        for maker in makers:
            keys = [maker.key(case) for case in cases]

            # Telling at every step lets a callback that raises stop the work at once.
            on_step = partial(_still, tell, EvaluationProgress(stage, done, total))
            clips.append(generate(store, keys, partial(maker.sample, cases, on_step)))
            looks.append(look(clips[-1], verdicts.judge(keys, clips[-1], cases)))
            done += len(cases)
            left = (time.monotonic() - start) / done * (total - done)
            tell(EvaluationProgress(stage, done, total, left))
        likeness, distance = ssim(*clips).tolist(), l1_distance(*clips).tolist()
        for row, case in enumerate(cases):
            keys = [maker.key(case) for maker in makers]
            concept = verdicts.names[case.concept] or ""
            yield Record(case, concept, looks[0][row], looks[1][row], likeness[row], distance[row], *keys)


def _in_all(
    makers: Sequence[Maker], prompts: PromptSet, store: ClipStore, attacks: Sequence[str], budget: AttackBudget
) -> float:
    """Seconds of clips and attacks together; finished attacks, which are not repeated, are counted all the same."""
    seconds = _clip_seconds(makers, prompts, store)
    if not attacks:
        return seconds
    a_step = makers[0].seconds_a_step()
    attacked = sum(attack_seconds(name, budget, a_step) for name in attacks) * len(makers)
    return seconds + attacked + attack_seconds(NOTHING, budget, a_step)


def _clip_seconds(makers: Sequence[Maker], prompts: PromptSet, store: ClipStore) -> float:
    """Seconds that the clips take which are not there yet."""
    missing = [sum(maker.key(case) not in store for case in prompts.cases) for maker in makers]
    return sum(maker.estimate_seconds(count) for maker, count in zip(makers, missing, strict=True) if count)


def _still(tell: EvaluationCallback, progress: EvaluationProgress, step: SampleStep) -> None:
    tell(progress)


def _describe(
    makers: tuple[Maker, Maker],
    prompts: PromptSet,
    detector: Detector,
    concept: str,
    settings: EvaluationSettings,
) -> dict[str, Any]:
    accuracy = detector.accuracy(concept)
    before, after = (maker.model for maker in makers)
    defaults = before.family.defaults
    return {
        "preset": settings.preset,
        "num_inference_steps": settings.num_inference_steps or defaults.num_inference_steps,
        "guidance_scale": defaults.guidance_scale if settings.guidance_scale is None else settings.guidance_scale,
        "model": before.name,
        "base_hash": before.base.hash,
        "erasures": [
            {"method": a.erasure.method, "concepts": list(a.erasure.concepts), "strength": a.strength} for a in after.erasures
        ],
        "guard": None if after.guard is None else after.guard.describe(),
        "before_hash": makers[0].hash,
        "after_hash": makers[1].hash,
        "detector": {"name": detector.name, "accuracy": "unknown" if accuracy is None else accuracy.describe()},
        "prompts": {
            "name": prompts.name,
            "sha256": prompts.sha256,
            "clips": len(prompts.cases),
            "left_out": list(prompts.left_out),
        },
    }
