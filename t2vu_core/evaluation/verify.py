"""Repeats a share of the evaluation that an erasure file claims, and says whether its figures hold."""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.evaluation.cases import ERASED_REGISTERS, KEPT, REGISTERS, Case, PromptSet
from t2vu_core.evaluation.checks import prompts_for, resolve
from t2vu_core.evaluation.claims import Checked, check_claims
from t2vu_core.evaluation.detectors import Detector, counted
from t2vu_core.evaluation.evaluate import evaluate
from t2vu_core.evaluation.maker import Makers
from t2vu_core.evaluation.settings import EVALUATION_PRESETS, EvaluationCallback, EvaluationSettings
from t2vu_core.model import T2VModel
from t2vu_core.scores import Scores

SHARE = 0.25


@dataclass(frozen=True)
class Verification:
    """What became of the claims of an erasure file."""

    concept: str
    base_hash: str
    checked: list[Checked]
    not_checked: list[str]
    """What else the file has results of, which is not tested: attacks, and scores that are no claim here."""
    seconds: float
    measured_at: str | None
    """When the claims were measured, ISO 8601; None in older files."""
    evaluation_version: int | None
    """Of the evaluation that measured the claims; None before version 1."""

    @property
    def holds(self) -> bool | None:
        """Whether no claim is contradicted; None if the clips could not contradict any claim, so nothing was tested."""
        if not all(row.holds for row in self.checked):
            return False
        return True if any(row.could_fail for row in self.checked) else None

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        claims = [
            {
                "name": row.claim.name,
                "direction": row.claim.direction,
                "claimed": row.claim.share,
                "interval": list(row.claim.interval),
                "claimed_clips": row.claim.clips,
                "measured": row.found / row.clips,
                "clips": row.clips,
                "p": row.p,
                "holds": row.holds,
                "could_fail": row.could_fail,
                "fails_from": row.fails_from,
                "finds": row.finds,
            }
            for row in self.checked
        ]
        return {
            "holds": self.holds,
            "concept": self.concept,
            "base_hash": self.base_hash,
            "claims": claims,
            "not_checked": self.not_checked,
            "seconds": self.seconds,
            "measured_at": self.measured_at,
            "evaluation_version": self.evaluation_version,
        }


def verify(
    base: T2VModel,
    erasure: Erasure,
    *,
    detector: Detector,
    prompts: PromptSet | None = None,
    share: float = SHARE,
    seed: int = 0,
    on_progress: EvaluationCallback | None = None,
) -> Verification:
    """Make a share of the clips again that an erasure's scores were counted from, and test its claims on them.

    The prompts and their seeds are those of the claimed evaluation; `seed` chooses among them, the same share of each
    register. A claim fails if the clips are significantly worse than the end of its interval (one-sided binomial tests,
    corrected for their number after Holm), because other hardware rounds differently and single clips may change.

    Raises UserError if the erasure has no scores, if these claim nothing, count other clips than their prompts make, or were
    measured with another model, erasure, guard, detector or prompt set than the ones at hand, or if `share` is not above 0 and
    at most 1.
    """
    start = time.monotonic()
    if not 0 < share <= 1:
        raise UserError(f"The share of clips must be above 0 and at most 1, not {share:g}.")
    claimed = _claimed(erasure, base, detector)
    model = base.with_erasure(erasure)
    settings = _settings(claimed)
    name = resolve(detector, claimed.concept)
    whole = _claimed_prompts(claimed, prompts_for(prompts, model, name, detector), settings)
    _check_counts(claimed, whole)
    _check_makers(claimed, Makers.of(base, model, None, settings))
    part = dataclasses.replace(whole, cases=tuple(_drawn(whole.cases, share, seed)))
    everything = dataclasses.replace(settings, per_register=len(part.cases), kept=len(part.cases), rounds=1)
    found = evaluate(model, name, detector=detector, settings=everything, prompts=part, on_progress=on_progress)
    return Verification(
        concept=name,
        base_hash=base.base.hash,
        checked=check_claims(claimed, found.scores),
        not_checked=[*_other_scores(claimed), *sorted(claimed.attacks())],
        seconds=round(time.monotonic() - start, 1),
        measured_at=claimed.measured_at,
        evaluation_version=claimed.evaluation_version,
    )


def _claimed(erasure: Erasure, base: T2VModel, detector: Detector) -> Scores:
    """The erasure's scores. Raises UserError if there are none, or if other things than those at hand were measured."""
    scores = erasure.scores
    if scores is None:
        raise UserError("The erasure has no scores, so there is nothing to verify; measure it with `t2vu evaluate`.")
    used = scores.settings
    if used.base_hash != base.base.hash:
        raise UserError(
            f"The scores were measured on {used.model} with the weights {used.base_hash[:16]}; "
            f"{base.name} has the weights {base.base.hash[:16]}; name the model that was measured (--model of `t2vu verify`)."
        )
    if used.detector.name != counted(detector).name:
        raise UserError(f"The scores were judged by {used.detector.name}, not by {counted(detector).name}; name that detector.")
    return scores


def _settings(claimed: Scores) -> EvaluationSettings:
    used = claimed.settings
    if used.preset not in EVALUATION_PRESETS:
        raise UserError(f"The scores were measured with the preset {used.preset!r}, which this version does not have.")
    return EvaluationSettings.of(used.preset, num_inference_steps=used.num_inference_steps, guidance_scale=used.guidance_scale)


def _claimed_prompts(claimed: Scores, prompts: PromptSet, settings: EvaluationSettings) -> PromptSet:
    """The cases that were measured. Raises UserError if the prompts at hand are not those."""
    used, chosen = claimed.settings.prompts, prompts.first(settings.per_register, settings.kept, settings.rounds)
    if used.sha256 != chosen.sha256:
        raise UserError(f"The scores were measured with the prompts {used.name}, not with {chosen.name}; name that file.")
    if used.clips != len(chosen.cases):
        raise UserError(
            f"The scores were counted from {used.clips} clips; the preset {settings.preset} makes {len(chosen.cases)} of these "
            "prompts. They were measured with other numbers, and cannot be repeated from the file alone."
        )
    return chosen


def _check_counts(claimed: Scores, whole: PromptSet) -> None:
    """Raises UserError if the scores claim nothing, or count other clips than these prompts make."""
    made = {
        "concept": sum(case.register != KEPT for case in whole.cases),
        "other concepts": sum(case.register == KEPT and bool(case.concept) for case in whole.cases),
    }
    rates = {"concept": claimed.erased.all, "other concepts": claimed.kept.concepts}
    if not any(rates.values()):
        raise UserError("The scores claim nothing that can be measured again; measure the erasure with `t2vu evaluate`.")
    for name, rate in rates.items():
        if rate is not None and rate.clips != made[name]:
            raise UserError(
                f"The scores count {rate.clips} clips of the {name}, but their prompts make {made[name]}; they belong to other "
                "prompts. Measure the erasure with `t2vu evaluate`."
            )


def _other_scores(scores: Scores) -> list[str]:
    """The scores besides the claims that the file has, in words."""
    there = {
        "rates of single registers": any(scores.erased.of(register) for register in ERASED_REGISTERS),
        "attributes": any(scores.kept.attributes.values()),
        "the other subject of two": scores.kept.other_subject,
        "false alarms": scores.false_alarms,
        "what stands there instead": scores.instead,
        "the second judge": scores.second_judge,
        "motion": scores.motion.ratio is not None,
        "drift and sharpness": scores.drift is not None or scores.quality.sharpness.ratio is not None,
        "the model that never knew it": scores.never_knew,
    }
    return [name for name, found in there.items() if found]


def _check_makers(claimed: Scores, makers: Makers) -> None:
    """Raises UserError if the whole models are not those that were measured, though the erased modules are."""
    used = claimed.settings
    if used.before_hash != makers.before.hash:
        raise UserError(
            "The scores were measured on a model whose other parts (text encoder, VAE or scheduler) or precision differ from "
            "this one; open the model that was measured."
        )
    if used.after_hash != makers.after.hash:
        raise UserError(
            "The scores in the file are of other tensors or of a model with a guard or further erasures; measure this erasure "
            "with `t2vu evaluate`."
        )


def _drawn(cases: Sequence[Case], share: float, seed: int) -> list[Case]:
    """A share of each register's cases, at least one, chosen by the seed."""
    chooser = random.Random(seed)
    registers = [[case for case in cases if case.register == register] for register in REGISTERS]
    return [case for part in registers if part for case in chooser.sample(part, math.ceil(share * len(part)))]
