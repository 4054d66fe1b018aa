"""The simplest guard: the concept as the negative prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from t2vu_core.errors import UserError
from t2vu_core.families import Family, TextCondition
from t2vu_core.guards.prompt_adjustment import check_concepts
from t2vu_core.sampling import Guided


@dataclass(frozen=True)
class NegativePrompt:
    """Guidance away from the concept instead of away from nothing (Ho & Salimans, arXiv 2207.12598, with v(x, c))."""

    concepts: tuple[str, ...]
    guidance_scale: float | None = None
    """None: that of the clip. A stronger push away from the concept takes a higher one."""

    def start(self, family: Family, prompts: Sequence[str], num_inference_steps: int, plain: Guided) -> Guided:
        check_guidance(plain.empty, "A negative prompt")
        negative = family.encode([", ".join(check_concepts(self.concepts))]).expand(len(prompts))
        scale = plain.guidance_scale if self.guidance_scale is None else self.guidance_scale
        return dataclasses.replace(plain, empty=negative, guidance_scale=scale)

    def describe(self) -> dict[str, Any]:
        return {"name": "negative_prompt", **dataclasses.asdict(self)}


def check_guidance(empty: TextCondition | None, what: str) -> TextCondition:
    """The unconditional prompt. Raises UserError if the clip is sampled without guidance: the guard would have no effect."""
    if empty is None:
        raise UserError(f"{what} works through guidance, which is off: use a guidance scale above 1.")
    return empty
