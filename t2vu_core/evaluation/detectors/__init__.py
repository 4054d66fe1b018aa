"""The detectors; their protocol is in `base`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from t2vu_core.errors import UserError
from t2vu_core.evaluation.detectors.base import Accuracy, Detector, Judgement
from t2vu_core.evaluation.detectors.clip import ZeroShotDetector
from t2vu_core.evaluation.detectors.faces import FaceDetector
from t2vu_core.evaluation.detectors.miniature import WorldDetector
from t2vu_core.evaluation.detectors.nudity import NudityDetector

DETECTORS: dict[str, Callable[[str], Detector]] = {
    "miniature": lambda rest: WorldDetector.bundled(),
    "clip:FOLDER": lambda rest: ZeroShotDetector.from_folder(Path(rest)),
    "nudenet": NudityDetector.of,
    "faces:FOLDER": lambda rest: FaceDetector.from_folder(Path(rest)),
}
"""The name of a detector on the command line -> a function that opens it, given the text after the colon."""

__all__ = ["DETECTORS", "Accuracy", "Detector", "Judgement", "WorldDetector", "open_detector"]


def open_detector(name: str) -> Detector:
    """A detector by name. Raises UserError if there is no such detector, or if it needs something that is missing."""
    kind, _, rest = name.partition(":")
    opened = {known.partition(":")[0]: open_it for known, open_it in DETECTORS.items()}
    if kind not in opened:
        raise UserError(f"There is no detector {name!r}; there are {', '.join(DETECTORS)}.")
    return opened[kind](rest)
