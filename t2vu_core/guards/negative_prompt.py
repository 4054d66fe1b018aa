"""The first thing everybody tries: the concept as the negative prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.families import ClipSize, Family, TextCondition
from t2vu_core.guards.base import GuardedPrediction
from t2vu_core.guards.prompt_adjustment import check_concepts
from t2vu_core.model import guided


@dataclass(frozen=True)
class NegativePrompt:
    """Guidance away from the concept instead of away from nothing (Ho & Salimans, arXiv 2207.12598, with v(x, c))."""

    concepts: tuple[str, ...]

    def start(self, family: Family, prompts: Sequence[str], num_inference_steps: int) -> GuardedPrediction:
        negative = family.encode([", ".join(check_concepts(self.concepts))]).expand(len(prompts))

        def predict(
            family: Family,
            latents: Tensor,
            timestep: Tensor,
            condition: TextCondition,
            empty: TextCondition | None,
            guidance_scale: float,
            size: ClipSize,
        ) -> Tensor:
            check_guidance(empty, "A negative prompt")
            return guided(family, latents, timestep, condition, negative, guidance_scale, size)

        return predict

    def describe(self) -> dict[str, Any]:
        return {"name": "negative_prompt", **dataclasses.asdict(self)}


def check_guidance(empty: TextCondition | None, what: str) -> TextCondition:
    """The unconditional prompt; UserError where the clip is sampled without guidance, which then could do nothing."""
    if empty is None:
        raise UserError(f"{what} works through guidance, which is off: use a guidance scale above 1.")
    return empty
