"""Sampling clips and images: the request, the starting noise, guidance, and the denoising loop.

Shapes: B clips or images; latents have the batch first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from t2vu_core.errors import NotFinite, UserError, check_text
from t2vu_core.families.base import Family
from t2vu_core.families.clip_size import ClipSize
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.objectives.velocity import guide

Denoiser = Callable[[Tensor, Tensor, TextCondition], Tensor]
"""One pass of a model: latents, timesteps (B,) and encoded prompts give a prediction in the model's own output space."""
Predictor = Callable[[Tensor, Tensor], Tensor]
"""Latents and a timestep give the prediction that the scheduler steps with. Called once a step, in order: it may keep state."""
Step = Callable[[Any, Tensor, Tensor, Tensor], Tensor]
"""Scheduler, prediction, timestep and latents give the next latents."""
OnLatents = Callable[[int, int, Tensor], None]
"""Called after each step with its number (from 1), the number of steps, and the latents."""


class Usual(Protocol):
    """The settings that a model is sampled with by default."""

    @property
    def num_inference_steps(self) -> int: ...

    @property
    def guidance_scale(self) -> float: ...


@dataclass(frozen=True)
class SamplingRequest:
    """Validated settings of one sampling run, with one seed per prompt."""

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
        """Fill in the defaults; a single seed is the first of consecutive ones. Raises UserError if a value is invalid."""
        prompts = _texts(prompts)
        seeds = _whole_numbers([seeds + index for index in range(len(prompts))] if isinstance(seeds, int) else seeds)
        if len(seeds) != len(prompts):
            raise UserError(f"{len(prompts)} prompts need as many seeds; {len(seeds)} were given.")
        steps = usual.num_inference_steps if num_inference_steps is None else num_inference_steps
        guidance = usual.guidance_scale if guidance_scale is None else guidance_scale
        if not 1 <= steps <= 1000:
            raise UserError(f"The number of steps must be between 1 and 1000, not {steps}.")
        if not math.isfinite(guidance):
            raise UserError(f"The guidance scale must be a number such as {usual.guidance_scale}, not {guidance!r}.")
        return cls(prompts, seeds, steps, guidance)


def _texts(prompts: object) -> list[str]:
    given = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(given, Sequence) or not given or not all(isinstance(text, str) for text in given):
        raise UserError(f"The prompts must be a text or a list of texts with at least one, not {prompts!r}.")
    for text in given:
        check_text(text, "The prompt")
    return list(given)


def _whole_numbers(seeds: object) -> list[int]:
    if not isinstance(seeds, Sequence) or not all(isinstance(seed, int) for seed in seeds):
        raise UserError(f"The seeds must be a whole number, or a list with one for each prompt, not {seeds!r}.")
    return list(seeds)


def seeded_noise(shape: Sequence[int], seeds: Sequence[int], device: torch.device) -> Tensor:
    """Starting noise (B, *shape) from one CPU generator per seed: a seed gives the same noise on every device."""
    each = [torch.randn(tuple(shape), generator=torch.Generator().manual_seed(int(seed) % 2**63)) for seed in seeds]
    return torch.stack(each).to(device)


def noise(family: Family, size: ClipSize, seeds: Sequence[int]) -> Tensor:
    """The starting noise of clips of this size, one per seed."""
    return seeded_noise(family.latent_shape(size), seeds, family.device)


@dataclass(frozen=True)
class Guided:
    """Classifier-free guidance (Ho & Salimans, arXiv 2207.12598) in one pass; plain prediction if `empty` is None."""

    denoiser: Denoiser
    condition: TextCondition
    empty: TextCondition | None
    guidance_scale: float

    def __call__(self, latents: Tensor, timestep: Tensor) -> Tensor:
        if self.empty is None:
            return self.denoiser(latents, timestep.expand(len(latents)), self.condition)
        both = TextCondition.cat([self.empty, self.condition])
        v_empty, v_prompt = self.denoiser(torch.cat([latents] * 2), timestep.expand(2 * len(latents)), both).chunk(2)
        return guide(v_prompt, v_empty, self.guidance_scale)


def guided(
    family: Family, size: ClipSize, condition: TextCondition, empty: TextCondition | None, guidance_scale: float
) -> Guided:
    """Classifier-free guidance of a video model for clips of this size."""
    return Guided(partial(family.predict, size=size), condition, empty, guidance_scale)


class Guard(Protocol):
    """A training-free method that replaces plain guidance. A value: its settings. `start` prepares one sampling run."""

    def start(self, family: Family, prompts: Sequence[str], num_inference_steps: int, plain: Guided) -> Predictor:
        """The predictor to use in place of `plain` for these prompts."""

    def describe(self) -> dict[str, Any]:
        """Name and settings as JSON values."""


def scheduler_step(scheduler: Any, prediction: Tensor, timestep: Tensor, latents: Tensor) -> Tensor:
    """One step of a diffusers scheduler."""
    stepped: Tensor = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
    return stepped


def check_finite(values: Tensor) -> None:
    """Raise NotFinite if there is NaN or inf among the values that a model computed."""
    if not torch.isfinite(values).all():
        raise NotFinite(
            "The model computes NaN or inf. Load it with --dtype bf16 or fp32 (in the node: dtype), lower the strength of its "
            "erasures, or download it again."
        )


def denoise(
    scheduler: Any,
    latents: Tensor,
    predict: Predictor,
    *,
    step: Step = scheduler_step,
    on_step: OnLatents | None = None,
    skip: int = 0,
) -> Tensor:
    """Take latents from noise to clip along the scheduler's timesteps; an exception from `on_step` stops the loop.

    With `skip`, the latents have the noise of a later timestep, and the steps before it are left out. Raises NotFinite if
    the first or the last step gives NaN or inf.
    """
    timesteps = scheduler.timesteps[skip:]
    total = len(timesteps)
    for number, timestep in enumerate(timesteps, 1):
        latents = step(scheduler, predict(latents, timestep), timestep, latents)
        if number in (1, total):
            check_finite(latents)
        if on_step is not None:
            on_step(number, total, latents)
    return latents
