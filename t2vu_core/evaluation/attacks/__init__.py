"""Comes back: attacks on an erased model, each with its budget and with controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from t2vu_core.errors import UserError
from t2vu_core.evaluation.attacks.base import ATTACKS, Attack, AttackBudget, Target, compare_with_controls
from t2vu_core.evaluation.attacks.embedding_inversion import embedding_inversion
from t2vu_core.evaluation.attacks.prompt_attack import prompt_attack
from t2vu_core.evaluation.attacks.regrowth import regrowth
from t2vu_core.model import T2VModel

__all__ = ["ATTACKS", "AttackBudget", "Target", "run_attacks"]

_ATTACKS: dict[str, Attack] = {"probe": embedding_inversion, "prompt_attack": prompt_attack, "regrowth": regrowth}
# A prompt search needs more steps than an inversion: only some of them change a word.
_STEPS = {"probe": 1.0, "prompt_attack": 1.5, "regrowth": 1.0}


def run_attacks(
    names: Sequence[str], model: T2VModel, target: Target, *, never_knew: T2VModel | None = None
) -> dict[str, dict[str, Any] | None]:
    """Run the named attacks on the model; null for those that were not asked for."""
    unknown = [name for name in names if name not in ATTACKS]
    if unknown:
        raise UserError(f"There is no attack {unknown[0]!r}; there are {', '.join(ATTACKS)}.")
    results: dict[str, dict[str, Any] | None] = dict.fromkeys(ATTACKS)
    for name in names:
        budget = dataclasses.replace(target.budget, steps=int(target.budget.steps * _STEPS[name]))
        own = dataclasses.replace(target, budget=budget)
        results[name] = compare_with_controls(_ATTACKS[name], model, own, never_knew, budget.describe())
    return results
