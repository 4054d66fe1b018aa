"""The detectors, behind the protocol in `base`."""

from t2vu_core.evaluation.detectors.base import Accuracy, Detector, Judgement
from t2vu_core.evaluation.detectors.miniature import WorldDetector

__all__ = ["Accuracy", "Detector", "Judgement", "WorldDetector"]
