"""Points of the concept's own clips, turned towards the clip that the neutral prompt draws from the same noise.

A model that is preserved there with the neutral prompt completes a noised clip of the concept as it did before erasing.
Image-to-video and video-to-video start that way (SDEdit, arXiv 2108.01073). R counts drawn rows, K clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from t2vu_core.training.noising import add_noise
from t2vu_core.training.velocity.cache import TensorRows

DEPTHS = (0.25, 0.75)
"""Shares of the steps that a start may skip: earlier the clip is hardly seen, later it can hardly be changed."""


@dataclass(frozen=True)
class ClipStarts:
    """Clips of the concept and those of the same noise without it, (K, ...); `prompt` indexes the concept's prompts."""

    clips: TensorRows
    instead: TensorRows
    prompt: Tensor
    scheduler: Any
    """With its timesteps set."""

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Noised clips (R, ...), their timesteps, what leads from there to the clip without the concept, and the prompts."""
        rows = torch.randint(0, len(self.prompt), (count,), generator=generator)
        first, last = (round(depth * len(self.scheduler.timesteps)) for depth in DEPTHS)
        place = torch.randint(first, max(first + 1, last + 1), (count,), generator=generator)
        place = place.clamp_max(len(self.scheduler.timesteps) - 1)
        clips, instead = self.clips[rows].float(), self.instead[rows].float()
        eps = torch.randn(clips.shape, generator=generator)
        latents, target = redirected(self.scheduler, clips, instead, eps, place)
        return latents, self.scheduler.timesteps.cpu()[place], target, self.prompt[rows]


def redirected(scheduler: Any, clean: Tensor, instead: Tensor, eps: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """`clean` noised as by `add_noise`, and the prediction from which `instead` follows there.

    x_t = a x_0 + b eps; the other clip has the noise eps + a (x_0 - x_0') / b at the same x_t.
    """
    noisy, _ = add_noise(scheduler, clean, eps, place)
    moved, _ = add_noise(scheduler, clean - instead, torch.zeros_like(eps), place)
    spread, _ = add_noise(scheduler, torch.zeros_like(clean), torch.ones_like(eps), place)
    _, target = add_noise(scheduler, instead, eps + moved / spread, place)
    return noisy, target
