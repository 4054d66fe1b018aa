"""SAFREE (Yoon et al., ICLR 2025, arXiv 2410.12761): training-free, by projecting the prompt's trigger words.

Its third part, the Fourier filter on skip connections, belongs to U-Nets; the authors' text-to-video form
does without it, and so does this one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from t2vu_core.families import ClipSize, Family, TextCondition
from t2vu_core.guards.base import GuardedPrediction
from t2vu_core.guards.prompt_adjustment import adjust_prompts
from t2vu_core.model import guided


@dataclass(frozen=True)
class SAFREE:
    """Adjusted prompts in the first steps, where a clip's content is decided; the prompt as it was after them.

    `first_share` is the share of steps that may be guarded: the authors' text-to-video code guards steps 0 to
    12 of 50. With `self_validating` each prompt is guarded the longer, the more its projection turned it (Eq. for
    t' in the paper, with gamma as that share).
    """

    concepts: tuple[str, ...]
    alpha: float = 0.01
    first_share: float = 0.26
    self_validating: bool = True

    def start(self, family: Family, prompts: Sequence[str], num_inference_steps: int) -> GuardedPrediction:
        adjusted = adjust_prompts(family, prompts, self.concepts, alpha=self.alpha)
        guarded = guarded_steps(adjusted.shares, num_inference_steps, self.first_share, self.self_validating)
        step = 0

        def predict(
            family: Family,
            latents: Tensor,
            timestep: Tensor,
            condition: TextCondition,
            empty: TextCondition | None,
            guidance_scale: float,
            size: ClipSize,
        ) -> Tensor:
            nonlocal step
            use = (step < guarded).to(condition.embeds_BSD.device)[:, None, None]
            step += 1
            embeds = torch.where(use, adjusted.condition.embeds_BSD, condition.embeds_BSD)
            condition = dataclasses.replace(condition, embeds_BSD=embeds)
            return guided(family, latents, timestep, condition, empty, guidance_scale, size)

        return predict

    def describe(self) -> dict[str, Any]:
        return {"name": "safree", **dataclasses.asdict(self)}


def guarded_steps(shares: Sequence[float], num_inference_steps: int, first_share: float, self_validating: bool) -> Tensor:
    """How many steps, from the first, each prompt is guarded, (B,): at least one where there is a trigger."""
    share = torch.tensor(shares)
    scale = share if self_validating else torch.ones_like(share)
    steps = (first_share * num_inference_steps * scale).round().clamp(min=1)
    return torch.where(share > 0, steps, 0).long()
