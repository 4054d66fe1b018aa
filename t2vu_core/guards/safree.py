"""SAFREE (Yoon et al., ICLR 2025, arXiv 2410.12761): training-free, by projecting the prompt's trigger words.

Its third part, the Fourier filter on skip connections, is specific to U-Nets; like the authors' text-to-video code,
this one leaves it out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from t2vu_core.families import Family
from t2vu_core.guards.prompt_adjustment import adjust_prompts
from t2vu_core.sampling import Guided, Predictor


@dataclass(frozen=True)
class SAFREE:
    """Uses adjusted prompts in the first steps, which decide a clip's content, and the original prompt afterwards.

    `first_share` is the largest share of steps to guard: the authors' text-to-video code guards steps 0 to 12 of 50.
    With `self_validating`, the more the projection changes a prompt, the longer that prompt is guarded (the equation
    for t' in the paper, with gamma as that share).
    """

    concepts: tuple[str, ...]
    alpha: float = 0.01
    first_share: float = 0.26
    self_validating: bool = True

    def start(self, family: Family, prompts: Sequence[str], num_inference_steps: int, plain: Guided) -> Predictor:
        adjusted = adjust_prompts(family, prompts, self.concepts, alpha=self.alpha)
        guarded = guarded_steps(adjusted.shares, num_inference_steps, self.first_share, self.self_validating)
        step = 0

        def predict(latents: Tensor, timestep: Tensor) -> Tensor:
            nonlocal step
            condition = plain.condition
            use = (step < guarded).to(condition.embeds_BSD.device)[:, None, None]
            step += 1
            embeds = torch.where(use, adjusted.condition.embeds_BSD, condition.embeds_BSD)
            mixed = dataclasses.replace(plain, condition=dataclasses.replace(condition, embeds_BSD=embeds))
            return mixed(latents, timestep)

        return predict

    def describe(self) -> dict[str, Any]:
        return {"name": "safree", **dataclasses.asdict(self)}


def guarded_steps(shares: Sequence[float], num_inference_steps: int, first_share: float, self_validating: bool) -> Tensor:
    """For how many of the first steps each prompt is guarded, (B,): at least one if it has a trigger word."""
    share = torch.tensor(shares)
    scale = share if self_validating else torch.ones_like(share)
    steps = (first_share * num_inference_steps * scale).round().clamp(min=1)
    return torch.where(share > 0, steps, 0).long()
