"""The miniature detector's own errors, as `count_miniature_errors` counted them.

They are stored under the detector's name, which contains the hash of its weights: they apply to these weights only.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from t2vu_core.evaluation.detectors.base import Accuracy

FILE = Path(__file__).with_suffix(".json")


def stored_accuracy(name: str, concept: str) -> Accuracy | None:
    """The stored errors of the detector with that name, or None."""
    stored = _stored()
    return Accuracy(**stored["concepts"][concept]) if stored.get("detector") == name else None


@cache
def _stored() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    return stored
