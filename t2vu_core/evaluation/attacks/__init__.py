"""Attacks that try to bring an erased concept back, each with its budget and with control models."""

from t2vu_core.evaluation.attacks.base import ATTACKS, AttackBudget, AttackTask, Target, terse_cases
from t2vu_core.evaluation.attacks.run import attack_once, attack_seconds, check_attacks, possible_attacks, run_attacks

__all__ = [
    "ATTACKS",
    "AttackBudget",
    "AttackTask",
    "Target",
    "attack_once",
    "attack_seconds",
    "check_attacks",
    "possible_attacks",
    "run_attacks",
    "terse_cases",
]
