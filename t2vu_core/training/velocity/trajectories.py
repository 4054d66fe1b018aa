"""Trajectories of the frozen model as a value: the points at which an eraser is trained.

A trajectory is guided sampling for one prompt. Its points hold x_t and the frozen model's predictions there, so that a
training step needs no teacher pass. P counts points, C prompts, R drawn rows, N video tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from t2vu_core.recipes import TimestepSampling
from t2vu_core.training.velocity.cache import TensorRows

PREDICTION = "predictions."
MASK_ONE = 255
"""Masks are stored as uint8; this value stands for 1."""


@dataclass(frozen=True)
class Trajectories:
    """Points of many trajectories, stored in bf16: latents and predictions (P, ...); `prompt` indexes the prompts."""

    latents: TensorRows
    timesteps: Tensor
    prompt: Tensor
    progress: Tensor
    """How far on the way from noise to clip a point lies, (P,) in [0, 1)."""
    predictions: Mapping[str, TensorRows]
    """By name: `prompt` (with it), `empty` (without), and `neutral` if neutral prompts were given."""
    ends: TensorRows
    """Where the trajectories end, (C, ...)."""
    masks: TensorRows | None = None
    """Where in its clip each prompt's concept is, uint8 up to MASK_ONE; (C, N), or fewer rows if only the first have one."""

    def __len__(self) -> int:
        return len(self.latents)

    @property
    def num_bytes(self) -> int:
        """Size of the points and masks."""
        parts = [self.latents, self.ends, *self.predictions.values(), *([] if self.masks is None else [self.masks])]
        return sum(part.nbytes for part in parts)

    def mask_of(self, rows: Tensor) -> Tensor:
        """The masks of some points, (R, N) float32 in [0, 1]."""
        assert self.masks is not None
        return self.masks[self.prompt[rows]].float() / MASK_ONE

    def draw(self, count: int, how: TimestepSampling, generator: torch.Generator, *, prompts: Tensor | None = None) -> Tensor:
        """Indices of `count` points, with repetition; of some of the prompts if `prompts`, bool (C,), marks them.

        `uniform` draws all points with the same probability; `early` prefers points near the noise, where a clip's layout
        is decided, and `late` those near the clip, where its details are, both linearly; `middle` is a parabola.
        """
        among = torch.arange(len(self)) if prompts is None else prompts[self.prompt.cpu()].nonzero()[:, 0]
        if how == "uniform":
            return among[torch.randint(0, len(among), (count,), generator=generator)]
        middle_of_step = self.progress + 0.5 * (1 - self.progress.max())
        weights = {
            "early": 1 - middle_of_step,
            "late": middle_of_step,
            "middle": middle_of_step * (1 - middle_of_step),
        }[how]
        return among[torch.multinomial(weights[among], count, replacement=True, generator=generator)]

    def tensors(self) -> dict[str, TensorRows]:
        """All tensors by name, as a file or another process takes them."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        predictions = fields.pop("predictions")
        named = {name: value for name, value in fields.items() if value is not None}
        return named | {f"{PREDICTION}{name}": value for name, value in predictions.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, TensorRows]) -> Trajectories:
        """The trajectories that `tensors()` gave."""
        predictions = {name.removeprefix(PREDICTION): value for name, value in tensors.items() if name.startswith(PREDICTION)}
        fields: dict[str, Any] = {name: value for name, value in tensors.items() if not name.startswith(PREDICTION)}
        return cls(**fields, predictions=predictions)
