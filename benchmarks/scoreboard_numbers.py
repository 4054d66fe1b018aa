"""What a row of the scoreboard says of an evaluation: rates with their intervals, and the clips behind them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from t2vu_core.evaluation import Evaluation, EvaluationSettings
from t2vu_core.evaluation.cases import ERASED_REGISTERS, KEPT
from t2vu_core.evaluation.statistics import wilson_interval
from t2vu_core.model import T2VModel


def numbers(evaluation: Evaluation) -> dict[str, Any]:
    """Rates and intervals; under `counts` their successes and clips, so that rows can be pooled; and clip by clip."""
    scores = evaluation.scores
    rates = {f"erased_{register}": scores["erased"][register] for register in ("terse", "synonym", "refined")}
    rates |= {"attributes": _together(scores["kept"]["attributes"]), "other_subject": scores["kept"]["other_subject"]}
    rates |= {"probe": scores["comes_back"]["probe"]}
    counts = {name: rate and [round(rate["after"] * rate["clips"]), rate["clips"]] for name, rate in rates.items()}
    kept = scores["kept"]["concepts"]
    about = [record for record in evaluation.records if record.case.register in ERASED_REGISTERS]
    others = [record for record in evaluation.records if record.case.register == KEPT and record.concept]
    return {
        **{name: rate and rate["after"] for name, rate in rates.items()},
        **{f"{name}_interval": rate and rate["interval"] for name, rate in rates.items()},
        "kept": kept and kept["relative"]["ratio"],
        "kept_interval": kept and kept["relative"]["interval"],
        "motion": scores["motion"]["ratio"],
        "counts": counts,
        "shown": [record.after.judgement.shown[record.concept] for record in about],
        "kept_shown": [record.after.judgement.shown[record.concept] for record in others],
        "kept_before": [record.before.judgement.shown[record.concept] for record in others],
    }


def _together(attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """The attributes' mean rate. Those of one clip go together, so that its interval counts clips, not attributes."""
    rates = [rate for rate in attributes.values() if rate]
    if not rates:
        return None
    share, clips = sum(rate["after"] for rate in rates) / len(rates), max(rate["clips"] for rate in rates)
    return {"after": share, "clips": clips, "interval": list(wilson_interval(round(share * clips), clips))}


def clip_seconds(model: T2VModel, settings: EvaluationSettings) -> float:
    """Seconds of one clip in a batch as it is measured."""
    start = time.monotonic()
    model.sample(["a video"] * settings.batch_size, seeds=0, **settings.sampling())
    return round((time.monotonic() - start) / settings.batch_size, 2)
