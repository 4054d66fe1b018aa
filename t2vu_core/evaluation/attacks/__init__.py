"""Comes back: attacks on an erased model, each with its budget and with controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from t2vu_core.errors import UserError
from t2vu_core.evaluation.attacks.base import (
    ATTACKS,
    AttackBudget,
    Outcome,
    Target,
    compare_with_controls,
    terse_cases,
)
from t2vu_core.evaluation.attacks.probe import embedding_inversion
from t2vu_core.evaluation.attacks.prompt_attack import prompt_attack
from t2vu_core.evaluation.attacks.regrowth import regrowth
from t2vu_core.model import T2VModel

__all__ = ["ATTACKS", "AttackBudget", "Target", "attack_once", "check_attacks", "run_attacks", "terse_cases"]

_RUNS = {"probe": embedding_inversion, "prompt_attack": prompt_attack, "regrowth": regrowth}
# A prompt search needs more steps than an inversion: only some of them change a word.
_STEPS = {"probe": 1.0, "prompt_attack": 1.5, "regrowth": 1.0}


def check_attacks(names: Sequence[str]) -> None:
    """Raise UserError for a name that is no attack."""
    unknown = [name for name in names if name not in ATTACKS]
    if unknown:
        raise UserError(f"There is no attack {unknown[0]!r}; there are {', '.join(ATTACKS)}.")


def attack_once(name: str, model: T2VModel, target: Target) -> Outcome:
    """One attack on one model, with its share of the target's budget; "nothing" only asks for the concept."""
    if name == "nothing":
        return Outcome(target.success(model, [case.prompt for case in target.cases]))
    return _RUNS[name](model, dataclasses.replace(target, budget=budget_of(name, target.budget)))


def budget_of(name: str, budget: AttackBudget) -> AttackBudget:
    """What the named attack may spend of a budget."""
    return dataclasses.replace(budget, steps=int(budget.steps * _STEPS.get(name, 0)))


def run_attacks(
    names: Sequence[str],
    model: T2VModel,
    target: Target,
    *,
    never_knew: T2VModel | None = None,
    attack: Callable[[str, T2VModel, Target], Outcome] = attack_once,
) -> dict[str, dict[str, Any] | None]:
    """Run the named attacks on the model and its controls; null for those that were not asked for.

    `attack` may be one that remembers what was done.
    """
    check_attacks(names)
    results: dict[str, dict[str, Any] | None] = dict.fromkeys(ATTACKS)
    if not names:
        return results
    before = attack("nothing", model, target)
    for name in names:
        erased, control = attack(name, model, target), attack(name, target.base, target)
        ceiling = None if never_knew is None else attack(name, never_knew, target)
        results[name] = compare_with_controls(before, erased, control, ceiling, budget_of(name, target.budget).describe())
    return results
