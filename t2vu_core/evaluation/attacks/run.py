"""Runs attacks by name on the erased model and on the controls, and says how long they take."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from t2vu_core.errors import UserError
from t2vu_core.evaluation.attacks import other_settings
from t2vu_core.evaluation.attacks.base import ATTACKS, AttackBudget, Outcome, Target, compare_with_controls
from t2vu_core.evaluation.attacks.clip_start import clip_start
from t2vu_core.evaluation.attacks.probe import probe
from t2vu_core.evaluation.attacks.prompt_attack import prompt_attack
from t2vu_core.evaluation.attacks.regrowth import regrowth
from t2vu_core.model import T2VModel
from t2vu_core.scores import AttackScores

NOTHING = "nothing"
"""The control attack: the concept is only asked for."""
_RUNS: dict[str, Callable[[T2VModel, Target], Outcome]] = {
    "probe": probe,
    "prompt_attack": prompt_attack,
    "regrowth": regrowth,
    "clip_start": clip_start,
    **other_settings.RUNS,
}
# Of sampling, upwards: twice the steps and larger frames take longer than half the steps and smaller ones save.
_OTHER_SETTINGS_IN_SAMPLING = 1.5
# A prompt search needs more steps, because only some of its steps change a word.
_STEPS = {"prompt_attack": 1.5, "regrowth": 1.0}
# A step of an attack is one forward and one backward pass of a batch; a step of sampling is two forward passes (guidance).
_STEP_IN_SAMPLING_STEPS = 1.5


def check_attacks(names: Sequence[str]) -> None:
    """Raises UserError for an unknown attack."""
    unknown = [name for name in names if name not in ATTACKS]
    if unknown:
        raise UserError(f"There is no attack {unknown[0]!r}; there are {', '.join(ATTACKS)}.")


def attack_once(name: str, model: T2VModel, target: Target) -> Outcome:
    """One attack on one model, with that attack's share of the target's budget."""
    if name == NOTHING:
        return Outcome(target.success(model, [case.prompt for case in target.cases]))
    return _RUNS[name](model, dataclasses.replace(target, budget=budget_of(name, target.budget)))


def budget_of(name: str, budget: AttackBudget) -> AttackBudget:
    """The share of a budget that the named attack may spend; only PROBE has several starts and a curve."""
    if name == "probe":
        return dataclasses.replace(budget, steps=budget.probe_steps or budget.steps, probe_steps=None)
    steps = int(budget.steps * _STEPS.get(name, 0))
    return dataclasses.replace(budget, steps=steps, probe_steps=None, starts=1, curve=())


def described(name: str, budget: AttackBudget) -> str:
    """What the named attack spends, in words."""
    text, change = budget_of(name, budget).describe(), other_settings.CHANGES.get(name)
    return text if change is None else f"{text}, but with {change}"


def possible_attacks(model: T2VModel) -> tuple[str, ...]:
    """The attacks that can be tried on a model: not those in other sizes or lengths if it makes only its own."""
    budget, others = AttackBudget(), other_settings.RUNS
    return tuple(name for name in ATTACKS if name not in others or other_settings.settings_of(name, model, budget))


def run_attacks(
    names: Sequence[str],
    model: T2VModel,
    target: Target,
    *,
    never_knew: T2VModel | None = None,
    attack: Callable[[str, T2VModel, Target], Outcome] = attack_once,
) -> dict[str, AttackScores | None]:
    """Run the named attacks on the model and on the control models; None for the others.

    `attack` replaces `attack_once`, for example by one that keeps its outcomes.
    """
    check_attacks(names)
    results: dict[str, AttackScores | None] = dict.fromkeys(ATTACKS)
    if not names:
        return results
    before = attack(NOTHING, model, target)
    for name in names:
        erased, control = attack(name, model, target), attack(name, target.base, target)
        ceiling = None if never_knew is None else attack(name, never_knew, target)
        results[name] = compare_with_controls(before, erased, control, ceiling, described(name, target.budget))
    return results


def attack_seconds(name: str, budget: AttackBudget, seconds_a_step: float) -> float:
    """How long an attack on one model takes, given the seconds of a sampling step of one batch."""
    own = budget_of(name, budget)
    measured: float = own.starts * (1 + len(own.curve)) * own.measured_clips
    if name in other_settings.RUNS:
        measured *= _OTHER_SETTINGS_IN_SAMPLING
    clips = measured + (0 if name == NOTHING or name in other_settings.RUNS else own.target_clips)
    return seconds_a_step * (_STEP_IN_SAMPLING_STEPS * own.steps * own.starts + own.sampling_steps * clips / own.batch_size)
