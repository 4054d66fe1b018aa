"""The miniature detector's own errors, as `count_miniature_errors` counted them.

They are stored with the detector's name, which holds the hash of its weights, so that other weights never
borrow them.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from t2vu_core.evaluation.detectors.base import Accuracy

FILE = Path(__file__).with_suffix(".json")


def stored_accuracy(name: str, concept: str) -> Accuracy | None:
    """The stored errors of the detector of that name, or None."""
    stored = _stored()
    return Accuracy(**stored["concepts"][concept]) if stored.get("detector") == name else None


@cache
def _stored() -> dict:
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
