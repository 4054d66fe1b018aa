"""What sampling a clip and sampling an image have in common: what is asked for, the starting noise, the guidance.

Shapes: B clips or images; latents have the batch first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.families.base import TextCondition
from t2vu_core.objectives.velocity import guide


class Usual(Protocol):
    """What a model is sampled with where nothing is asked."""

    @property
    def num_inference_steps(self) -> int: ...

    @property
    def guidance_scale(self) -> float: ...


@dataclass(frozen=True)
class SamplingRequest:
    """What one sampling is asked for: as many seeds as prompts, steps and guidance that can be computed with."""

    prompts: list[str]
    seeds: list[int]
    num_inference_steps: int
    guidance_scale: float

    @classmethod
    def checked(
        cls,
        prompts: str | Sequence[str],
        seeds: int | Sequence[int],
        num_inference_steps: int | None,
        guidance_scale: float | None,
        usual: Usual,
    ) -> SamplingRequest:
        """What was asked for, completed: a seed alone is the first of consecutive ones. UserError for what cannot be."""
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        seeds = [seeds + index for index in range(len(prompts))] if isinstance(seeds, int) else list(seeds)
        if len(seeds) != len(prompts):
            raise UserError(f"{len(prompts)} prompts need as many seeds; {len(seeds)} were given.")
        steps = usual.num_inference_steps if num_inference_steps is None else num_inference_steps
        guidance = usual.guidance_scale if guidance_scale is None else guidance_scale
        if not 1 <= steps <= 1000:
            raise UserError(f"The number of steps must be between 1 and 1000, not {steps}.")
        if not math.isfinite(guidance):
            raise UserError(f"The guidance scale must be a number such as {usual.guidance_scale}, not {guidance!r}.")
        return cls(prompts, seeds, steps, guidance)


def seeded_noise(shape: Sequence[int], seeds: Sequence[int], device: torch.device) -> Tensor:
    """Starting noise (B, *shape), one CPU generator a seed: the same seed gives the same noise on every device."""
    each = [torch.randn(tuple(shape), generator=torch.Generator().manual_seed(int(seed) % 2**63)) for seed in seeds]
    return torch.stack(each).to(device)


def guided_prediction(
    predict: Callable[[Tensor, Tensor, TextCondition], Tensor],
    latents: Tensor,
    timestep: Tensor,
    condition: TextCondition,
    empty: TextCondition | None,
    guidance_scale: float,
) -> Tensor:
    """Classifier-free guidance (Ho & Salimans, arXiv 2207.12598) in one pass of `predict(latents, timesteps_B, condition)`.

    Where `empty` is None the prediction is plain.
    """
    if empty is None:
        return predict(latents, timestep.expand(len(latents)), condition)
    both = TextCondition.cat([empty, condition])
    v_empty, v_prompt = predict(torch.cat([latents] * 2), timestep.expand(2 * len(latents)), both).chunk(2)
    return guide(v_prompt, v_empty, guidance_scale)
