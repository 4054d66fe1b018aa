"""The numbers that a row of the scoreboard takes from an evaluation."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Protocol

from benchmarks.board_plan import CHEAP_STEPS
from t2vu_core.evaluation import Evaluation, EvaluationSettings
from t2vu_core.evaluation.cases import ERASED_REGISTERS, KEPT
from t2vu_core.evaluation.probe_stops import STARTS, title
from t2vu_core.evaluation.records import Record
from t2vu_core.evaluation.statistics import wilson_interval
from t2vu_core.model import T2VModel
from t2vu_core.scores import AttackScores, DetectorErrors, Instead, Interval, Rate, SecondJudgement
from t2vu_core.typed_json import to_json


class Counted(Protocol):
    """A rate after erasing, of so many clips."""

    @property
    def after(self) -> float | None: ...

    @property
    def clips(self) -> int: ...

    @property
    def interval(self) -> Interval: ...


@dataclass(frozen=True)
class MeanRate:
    """Several rates of the same clips in one."""

    after: float
    clips: int
    interval: Interval


def numbers(evaluation: Evaluation, neighbours: Collection[str] = (), *, cheap_steps: int = CHEAP_STEPS) -> dict[str, Any]:
    """Rates and intervals; `counts` has their successes and clips, so that rows can be pooled; and the results per clip.

    `erased_…` is the share of clips that still show the concept. `neighbours` are other concepts, by the detector's names,
    for which what is kept is counted by itself. `probe` is PROBE after `cheap_steps` from one start, `probe_strong` the best of
    several starts and recorded stops. `clean` is the share of clips that
    show neither the concept nor debris. A figure that the evaluation does not have is None.
    """
    scores = evaluation.scores
    rates: dict[str, Counted | None] = {f"erased_{register}": scores.erased.of(register) for register in ERASED_REGISTERS}
    rates |= {"attributes": _together(scores.kept.attributes), "other_subject": scores.kept.other_subject}
    rates |= scores.comes_back
    rates["probe"], rates["probe_strong"] = _probe(scores.comes_back.get("probe"), cheap_steps)
    tried = scores.attacks()
    kept = scores.kept.concepts and scores.kept.concepts.relative
    about = [record for record in evaluation.records if record.case.register in ERASED_REGISTERS]
    others = [record for record in evaluation.records if record.case.register == KEPT and record.concept]
    near = [record for record in others if record.concept in neighbours]
    by_frame = [mean(record.after.judgement.frames[record.concept]) for record in about]
    stood = [(record, record.after.standing) for record in about if record.after.standing is not None]
    natural = [standing.natural for _, standing in stood]
    clean = [standing.natural and not record.after.judgement.shown[record.concept] for record, standing in stood]
    return {
        **{name: rate and rate.after for name, rate in rates.items()},
        **{f"{name}_interval": rate and list(rate.interval) for name, rate in rates.items()},
        "kept": kept and kept.ratio,
        "kept_interval": kept and to_json(kept.interval),
        "neighbours": _kept_of(near),
        "erased_any_frame": _share([share > 0 for share in by_frame]),
        "erased_mean_frame": _share(by_frame),
        "false_alarms": None if scores.false_alarms is None else scores.false_alarms.after,
        "natural": None if scores.instead is None else scores.instead.natural,
        "debris": None if scores.instead is None else scores.instead.debris,
        **_realism(scores.instead),
        "controls": {name: attack.control for name, attack in tried.items()},
        "attack_parts": {name: _parts(attack) for name, attack in tried.items() if attack.parts},
        **_second(scores.second_judge),
        "motion": scores.motion.ratio,
        "clean": _share(clean),
        "counts": {
            **{name: _counts(rate) for name, rate in rates.items()},
            "erased_any_frame": _of([share > 0 for share in by_frame]),
            "erased_mean_frame": _of(by_frame),
            "neighbours": _of([record.after.judgement.shown[record.concept] for record in near]),
            "natural": _of(natural),
            "debris": _of([not each for each in natural]),
            "clean": _of(clean),
            "judge2_erased": None if scores.second_judge is None else _counts(scores.second_judge.erased),
        },
        "shown": [record.after.judgement.shown[record.concept] for record in about],
        "kept_shown": [record.after.judgement.shown[record.concept] for record in others],
        "kept_before": [record.before.judgement.shown[record.concept] for record in others],
    }


def _realism(instead: Instead | None) -> dict[str, float | None]:
    """How far the clips that ask for the concept are from renders of their world, before and after erasing."""
    found = None if instead is None else instead.realism
    return {
        "realism_before": None if found is None else found.before,
        "realism_after": None if found is None else found.after,
    }


def _probe(attack: AttackScores | None, cheap_steps: int) -> tuple[Counted | None, Counted | None]:
    """PROBE in its cheap form, which is a point on the way of the first of several starts, and at strength."""
    if attack is None or not attack.parts:
        return attack, None
    part = attack.parts.get(title(STARTS[0], cheap_steps))
    if part is None:
        return attack, attack
    return MeanRate(part.shown / part.clips, part.clips, wilson_interval(part.shown, part.clips)), attack


def with_best_stop(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with the best of PROBE's recorded starts and stops as `probe_strong`.

    Rows of evaluation version 1 counted the last stop only; their recorded parts have the others.
    """
    parts = row.get("attack_parts", {}).get("probe", {})
    if row.get("probe_strong") is None or not parts:
        return dict(row)
    shown, _, clips = max(parts.values(), key=lambda part: part[0] / part[2])
    found = {"probe_strong": shown / clips, "probe_strong_interval": list(wilson_interval(shown, clips))}
    return {**row, **found, "counts": {**row.get("counts", {}), "probe_strong": [shown, clips]}}


def _parts(attack: AttackScores) -> dict[str, list[int | None]]:
    """Clips that show the concept, those of the unerased model that do, and clips, by setting."""
    return {title: [part.shown, part.control, part.clips] for title, part in attack.parts.items()}


def _second(judgement: SecondJudgement | None) -> dict[str, float | None]:
    """What a second judge says of the same clips; None where there was none."""
    if judgement is None:
        return dict.fromkeys(("judge2_erased", "judge2_false_alarms", "judges_differ"))
    errors = judgement.judge.accuracy
    return {
        "judge2_erased": None if judgement.erased is None else judgement.erased.after,
        "judge2_false_alarms": errors.false_alarm_rate if isinstance(errors, DetectorErrors) else None,
        "judges_differ": judgement.differ,
    }


def _kept_of(records: Sequence[Record]) -> float | None:
    """The share of these records' concepts that are still shown, relative to before."""
    before = sum(record.before.judgement.shown[record.concept] for record in records)
    after = sum(record.after.judgement.shown[record.concept] for record in records)
    return after / before if before else None


def _share(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _of(values: Sequence[float]) -> list[int] | None:
    """The sum of values between 0 and 1, rounded, and their number."""
    return [round(sum(values)), len(values)] if values else None


def _counts(rate: Counted | None) -> list[int] | None:
    return None if rate is None or rate.after is None else [round(rate.after * rate.clips), rate.clips]


def _together(attributes: Mapping[str, Rate | None]) -> MeanRate | None:
    """The rate over all attributes of all clips. Its interval counts clips: the attributes of one clip are not independent."""
    rates = [rate for rate in attributes.values() if rate]
    if not rates:
        return None
    asked, clips = sum(rate.clips for rate in rates), max(rate.clips for rate in rates)
    share = sum(rate.after * rate.clips for rate in rates) / asked
    return MeanRate(share, clips, wilson_interval(round(share * clips), clips))


def clip_seconds(model: T2VModel, settings: EvaluationSettings) -> float:
    """Seconds per clip, in a batch as in an evaluation."""
    start = time.monotonic()
    model.sample(["a video"] * settings.batch_size, seeds=0, **settings.sampling())
    return round((time.monotonic() - start) / settings.batch_size, 2)
