"""The own errors of the miniatures' detectors, as `count_miniature_errors` counted them.

They are stored under the detector's name, which contains the hash of its weights: they apply to these weights only.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from t2vu_core.evaluation.detectors.base import Accuracy
from t2vu_core.miniature.worlds import WORLD_32, WORLDS, World


def accuracy_file(world: World) -> Path:
    """Where the errors of a world's detector are stored."""
    own = Path(__file__)
    return own.with_suffix(".json") if world == WORLD_32 else own.with_name(f"{own.stem}_{world.size}.json")


def stored_accuracy(name: str, concept: str) -> Accuracy | None:
    """The stored errors of the detector of that name, or None."""
    concepts = _stored().get(name)
    return None if concepts is None else Accuracy(**concepts[concept])


@cache
def _stored() -> dict[str, dict[str, dict[str, int]]]:
    """Detector -> concept -> its counts."""
    files = [accuracy_file(world) for world in WORLDS]
    stored = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]
    return {counted["detector"]: counted["concepts"] for counted in stored}
