"""The concepts, prompts and seeds on which settings are chosen; what measures has its own, which no tuning script may use."""

from __future__ import annotations

from t2vu_core.errors import UserError
from t2vu_core.evaluation import Detector
from t2vu_core.evaluation.cases import PromptSet, development_concepts, development_set
from t2vu_core.evaluation.detectors import WorldDetector, counted

TUNING = ("ablations", "encoder_objectives", "safree_steps", "tuning")
"""The scripts by whose results settings are chosen or explained."""
MEASURING = (
    "blind",
    "encoder_rows",
    "encoder_spread",
    "encoder_transfer",
    "native_against_folder",
    "scoreboard",
    "scoreboard_row",
)
"""The only modules in benchmarks that may read the prompts that measure; none of their results chooses a setting."""


def development_prompts(detector: Detector, concept: str) -> PromptSet:
    """The development prompts of a concept. Raises UserError for a concept that the scoreboard measures."""
    judge = counted(detector)
    version = judge.world.prompt_sets if isinstance(judge, WorldDetector) else "v1"
    prompts = development_set(detector.resolve(concept) or concept, version)
    if prompts is None:
        raise UserError(
            f"{concept!r} is measured by the scoreboard, so settings are not chosen on it; choose from "
            f"{', '.join(development_concepts(version))}."
        )
    return prompts
