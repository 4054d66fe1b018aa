"""The detectors; their protocol is in `base`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from t2vu_core.errors import UserError
from t2vu_core.evaluation.detectors.base import Accuracy, Detector, Judgement
from t2vu_core.evaluation.detectors.clip import ZeroShotDetector
from t2vu_core.evaluation.detectors.faces import FaceDetector
from t2vu_core.evaluation.detectors.miniature import WorldDetector, world_of_model
from t2vu_core.evaluation.detectors.nudity import NudityDetector
from t2vu_core.evaluation.second_judge.detector import SecondJudge, TwoJudges
from t2vu_core.model import T2VModel

DETECTORS: dict[str, Callable[[str, T2VModel | None], Detector]] = {
    "miniature": lambda rest, model: WorldDetector.for_model(model),
    "clip:FOLDER": lambda rest, model: ZeroShotDetector.from_folder(Path(rest)),
    "nudenet": lambda rest, model: NudityDetector.of(rest),
    "two judges": lambda rest, model: TwoJudges.for_model(model),
    "second judge": lambda rest, model: SecondJudge.for_model(model),
    "faces:FOLDER": lambda rest, model: FaceDetector.from_folder(Path(rest)),
}
"""The name of a detector on the command line -> a function that opens it, given the text after the colon and the model."""

__all__ = [
    "DETECTORS",
    "Accuracy",
    "Detector",
    "Judgement",
    "TwoJudges",
    "WorldDetector",
    "counted",
    "open_detector",
    "world_of_model",
]


def open_detector(name: str, model: T2VModel | None = None) -> Detector:
    """A detector by name, for clips of a model: the miniatures' depends on the size of its clips.

    Raises UserError if there is no such detector, or if it needs something that is missing.
    """
    kind, _, rest = name.partition(":")
    opened = {known.partition(":")[0]: open_it for known, open_it in DETECTORS.items()}
    if kind not in opened:
        raise UserError(f"There is no detector {name!r}; there are {', '.join(DETECTORS)}.")
    return opened[kind](rest, model)


def counted(detector: Detector) -> Detector:
    """The detector whose answers the rates count: the first of two judges."""
    return detector.first if isinstance(detector, TwoJudges) else detector
