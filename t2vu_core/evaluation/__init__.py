"""The meter: what was erased, what was kept, what comes back."""

from t2vu_core.evaluation.cases import MEASURING_SEEDS, Case, PromptSet, built_in, load_prompt_set
from t2vu_core.evaluation.detectors import Accuracy, Detector, Judgement, WorldDetector
from t2vu_core.evaluation.evaluate import Evaluation, evaluate
from t2vu_core.evaluation.settings import EvaluationProgress, EvaluationSettings

__all__ = [
    "MEASURING_SEEDS",
    "Accuracy",
    "Case",
    "Detector",
    "Evaluation",
    "EvaluationProgress",
    "EvaluationSettings",
    "Judgement",
    "PromptSet",
    "WorldDetector",
    "built_in",
    "evaluate",
    "load_prompt_set",
]
