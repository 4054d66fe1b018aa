"""Trajectories of the frozen model, sampled once: where on the way from noise to clip an eraser is trained.

A trajectory is what guided sampling does for one prompt. Its points carry x_t and the frozen model's
predictions there, so that a training step needs no teacher pass. P counts points, B clips in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2vu_core.families.base import ClipSize, Family, TextCondition
from t2vu_core.model import noise
from t2vu_core.training.progress import ProgressCallback, TrainProgress

MAX_BATCH = 8


@dataclass(frozen=True)
class Trajectories:
    """Points of many trajectories, stored in bf16: latents and predictions (P, ...), `prompt` indexes the prompts."""

    latents: Tensor
    timesteps: Tensor
    prompt: Tensor
    predictions: dict[str, Tensor]
    """By name: `prompt` (with it), `empty` (without), and `neutral` where neutral prompts were given."""

    def __len__(self) -> int:
        return len(self.latents)

    @property
    def num_bytes(self) -> int:
        """Memory that the points take."""
        return sum(part.numel() * part.element_size() for part in (self.latents, *self.predictions.values()))


@torch.no_grad()
def sample_trajectories(
    family: Family,
    condition: TextCondition,
    empty: TextCondition,
    size: ClipSize,
    *,
    neutral: TextCondition | None = None,
    seeds: Sequence[int],
    num_steps: int,
    guidance_scale: float,
    on_progress: ProgressCallback | None = None,
    done: int = 0,
    total: int = 0,
) -> Trajectories:
    """Sample one trajectory per prompt with guidance and keep every point of it.

    `done` and `total` place this call's clips in a longer progress.
    """
    parts: list[Trajectories] = []
    finished = done

    def on_step() -> None:
        """Cancel takes effect here: a batch of clips of a large model takes minutes."""
        if on_progress is not None:
            on_progress(TrainProgress("trajectories", finished, total))

    for start in range(0, len(condition), MAX_BATCH):
        rows = slice(start, start + MAX_BATCH)
        parts += _rollout(
            family, condition[rows], empty, None if neutral is None else neutral[rows], size,
            seeds=seeds[rows], first=start, num_steps=num_steps, guidance_scale=guidance_scale, on_step=on_step,
        )  # fmt: skip
        finished = done + min(start + MAX_BATCH, len(condition))
        on_step()
    names = parts[0].predictions
    return Trajectories(
        torch.cat([part.latents for part in parts]),
        torch.cat([part.timesteps for part in parts]),
        torch.cat([part.prompt for part in parts]),
        {name: torch.cat([part.predictions[name] for part in parts]) for name in names},
    )


def _rollout(
    family: Family,
    condition: TextCondition,
    empty: TextCondition,
    neutral: TextCondition | None,
    size: ClipSize,
    *,
    seeds: Sequence[int],
    first: int,
    num_steps: int,
    guidance_scale: float,
    on_step: Callable[[], None],
) -> list[Trajectories]:
    count = len(condition)
    conditions = {"prompt": condition, "empty": empty.expand(count)}
    if neutral is not None:
        conditions["neutral"] = neutral
    together = TextCondition.cat(list(conditions.values()))
    latents = noise(family, size, seeds)
    scheduler = family.make_scheduler(num_steps, size)
    prompt, points = torch.arange(first, first + count), []
    for timestep in scheduler.timesteps:
        inputs = torch.cat([latents] * len(conditions))
        with torch.autocast(family.device.type, torch.bfloat16):
            predicted = family.predict(inputs, timestep.expand(len(inputs)), together, size)
        predictions = dict(zip(conditions, predicted.chunk(len(conditions)), strict=True))
        kept = {name: value.to("cpu", torch.bfloat16) for name, value in predictions.items()}
        points.append(Trajectories(latents.to("cpu", torch.bfloat16), timestep.expand(count).cpu(), prompt, kept))
        guided = predictions["empty"] + guidance_scale * (predictions["prompt"] - predictions["empty"])
        latents = family.step(scheduler, guided, timestep, latents)
        on_step()
    return points
