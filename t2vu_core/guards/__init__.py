"""Guards: training-free methods that suppress a concept during sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from t2vu_core.errors import UserError
from t2vu_core.guards.negative_prompt import NegativePrompt
from t2vu_core.guards.prompt_adjustment import check_concepts
from t2vu_core.guards.safree import SAFREE
from t2vu_core.guards.video_eraser import VideoEraser
from t2vu_core.sampling import Guard

GUARDS: dict[str, Any] = {"negative_prompt": NegativePrompt, "safree": SAFREE, "video_eraser": VideoEraser}

__all__ = ["GUARDS", "SAFREE", "Guard", "NegativePrompt", "VideoEraser", "make_guard"]


def make_guard(name: str, concepts: Sequence[str], **settings: Any) -> Guard:
    """A guard by name against these concepts. Raises UserError for an unknown name or an empty concept."""
    if name not in GUARDS:
        raise UserError(f"There is no guard {name!r}; there are {', '.join(GUARDS)}.")
    guard: Guard = GUARDS[name](tuple(check_concepts(concepts)), **settings)
    return guard
