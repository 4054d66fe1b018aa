"""The second judge's own errors on renders, stored under its name: they apply to these probes only."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from t2vu_core.evaluation.detectors.base import Accuracy

ACCURACY_FILE = Path(__file__).with_suffix(".json")


def stored_accuracy(name: str, concept: str) -> Accuracy | None:
    """The errors of the judge of that name for a concept, or None."""
    counts = _stored().get(name, {}).get(concept)
    return None if counts is None else Accuracy(**counts)


@cache
def _stored() -> dict[str, dict[str, dict[str, int]]]:
    """Judge -> concept -> its counts."""
    if not ACCURACY_FILE.is_file():
        return {}
    stored: dict[str, dict[str, dict[str, int]]] = json.loads(ACCURACY_FILE.read_text(encoding="utf-8"))
    return stored
