"""Evaluation of an erasure: how much of the concept is gone, what is kept, and what attacks bring back."""

from t2vu_core.evaluation.cases import MEASURING_SEEDS, Case, PromptSet, built_in, load_prompt_set
from t2vu_core.evaluation.detectors import Accuracy, Detector, Judgement, WorldDetector
from t2vu_core.evaluation.evaluate import Evaluation, evaluate
from t2vu_core.evaluation.evaluate_to import Evaluated, evaluate_to
from t2vu_core.evaluation.settings import EvaluationProgress, EvaluationSettings
from t2vu_core.evaluation.verdict import AttackVerdict, KeptVerdict, Verdict
from t2vu_core.scores import Rate, Scores

__all__ = [
    "MEASURING_SEEDS",
    "Accuracy",
    "AttackVerdict",
    "Case",
    "Detector",
    "Evaluated",
    "Evaluation",
    "EvaluationProgress",
    "EvaluationSettings",
    "Judgement",
    "KeptVerdict",
    "PromptSet",
    "Rate",
    "Scores",
    "Verdict",
    "WorldDetector",
    "built_in",
    "evaluate",
    "evaluate_to",
    "load_prompt_set",
]
