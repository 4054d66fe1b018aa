"""Trajectories of the frozen model, sampled once: where on the way from noise to clip an eraser is trained.

A trajectory is what guided sampling does for one prompt. Its points carry x_t and the frozen model's
predictions there, so that a training step needs no teacher pass. P counts points, B clips in a batch, C prompts,
N video tokens.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from t2vu_core.families.base import ClipSize, Family, MaskLayers, TextCondition
from t2vu_core.objectives.localization import concept_mask, prediction_difference
from t2vu_core.objectives.velocity import guide
from t2vu_core.recipes import MaskSource, TimestepSampling
from t2vu_core.sampling import denoise, noise
from t2vu_core.training.progress import ProgressCallback, TrainProgress
from t2vu_core.training.workers import Workers

MAX_BATCH = 8
TOKENS_A_PASS = 2**16
"""Video tokens that one pass may have in all: clips of a large model go one by one."""
PREDICTION = "predictions."
WHOLE = 255
"""Masks are kept as whole numbers: this one stands for 1."""


@dataclass(frozen=True)
class Trajectories:
    """Points of many trajectories, stored in bf16: latents and predictions (P, ...), `prompt` indexes the prompts."""

    latents: Tensor
    timesteps: Tensor
    prompt: Tensor
    progress: Tensor
    """How far on the way from noise to clip a point lies, (P,) in [0, 1)."""
    predictions: dict[str, Tensor]
    """By name: `prompt` (with it), `empty` (without), and `neutral` where neutral prompts were given."""
    ends: Tensor
    """Where the trajectories end, (C, ...)."""
    masks: Tensor | None = None
    """Where in its clip each prompt's concept is, uint8 up to WHOLE; (C, N), or fewer rows where only the first were seen."""

    def __len__(self) -> int:
        return len(self.latents)

    @property
    def num_bytes(self) -> int:
        """Memory that the points and masks take."""
        parts = [self.latents, self.ends, *self.predictions.values(), *([] if self.masks is None else [self.masks])]
        return sum(part.numel() * part.element_size() for part in parts)

    def mask_of(self, rows: Tensor) -> Tensor:
        """The masks of some points, (R, N) float32 in [0, 1]."""
        assert self.masks is not None
        return self.masks[self.prompt[rows]].float() / WHOLE

    def draw(self, count: int, how: TimestepSampling, generator: torch.Generator) -> Tensor:
        """Indices of `count` points, with repetition.

        `uniform` takes every point alike; `early` leans linearly towards the noise, where a clip's layout is
        decided, `late` towards the clip, where its details are; `middle` is a parabola between both.
        """
        if how == "uniform":
            return torch.randint(0, len(self), (count,), generator=generator)
        middle_of_step = self.progress + 0.5 * (1 - self.progress.max())
        weights = {
            "early": 1 - middle_of_step,
            "late": middle_of_step,
            "middle": middle_of_step * (1 - middle_of_step),
        }[how]
        return torch.multinomial(weights, count, replacement=True, generator=generator)

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name, as a file or another process takes it."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        predictions = fields.pop("predictions")
        named = {name: value for name, value in fields.items() if value is not None}
        return named | {f"{PREDICTION}{name}": value for name, value in predictions.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Trajectories:
        """Back from `tensors()`."""
        predictions = {name.removeprefix(PREDICTION): value for name, value in tensors.items() if name.startswith(PREDICTION)}
        fields: dict[str, Any] = {name: value for name, value in tensors.items() if not name.startswith(PREDICTION)}
        return cls(**fields, predictions=predictions)

    @staticmethod
    def cat(parts: Sequence[Trajectories]) -> Trajectories:
        """Trajectories of other prompts one behind the other; `prompt` must count on already."""

        def join(tensors: Sequence[Tensor | None]) -> Tensor | None:
            present = [tensor for tensor in tensors if tensor is not None]
            return torch.cat(present) if present else None

        return Trajectories(
            torch.cat([part.latents for part in parts]),
            torch.cat([part.timesteps for part in parts]),
            torch.cat([part.prompt for part in parts]),
            torch.cat([part.progress for part in parts]),
            {name: torch.cat([part.predictions[name] for part in parts]) for name in parts[0].predictions},
            torch.cat([part.ends for part in parts]),
            join([part.masks for part in parts]),
        )


Driver = Callable[[], contextlib.AbstractContextManager[None]]
"""Within it the model computes as the student that chooses the way."""


@dataclass(frozen=True)
class _Route:
    num_steps: int
    guidance_scale: float
    driver: Driver | None
    mask_source: MaskSource
    mask_layers: MaskLayers


def sample_trajectories(
    family: Family, condition: TextCondition, empty: TextCondition, size: ClipSize, **options: Any
) -> Trajectories:
    """All that `trajectory_parts` gives, in memory."""
    return Trajectories.cat(list(trajectory_parts(family, condition, empty, size, **options)))


@torch.no_grad()
def trajectory_parts(
    family: Family,
    condition: TextCondition,
    empty: TextCondition,
    size: ClipSize,
    *,
    neutral: TextCondition | None = None,
    positions: Sequence[Sequence[int]] | None = None,
    mask_source: MaskSource = "prediction",
    mask_layers: MaskLayers = "all",
    seeds: Sequence[int],
    num_steps: int,
    guidance_scale: float,
    driver: Driver | None = None,
    go_neutrally: Sequence[bool] = (),
    on_progress: ProgressCallback | None = None,
    done: int = 0,
    total: int = 0,
    workers: Workers | None = None,
) -> Iterator[Trajectories]:
    """Sample one trajectory per prompt with guidance and give every point of it, a batch of prompts at a time.

    With `positions` (the concept's text tokens in the first prompts, or in all) these trajectories get a mask: from what
    video attends to, or from what the concept changes of the neutral prompt's predictions. A
    `driver` chooses the way (on-policy), while the predictions that are kept stay the frozen model's; the prompts that
    `go_neutrally` go the way of their neutral ones instead. `done` and `total` place this call's clips in a longer progress.
    Several workers take turns, and each gets all batches in order.
    """
    workers, route = workers or Workers(), _Route(num_steps, guidance_scale, driver, mask_source, mask_layers)
    tokens_a_clip = math.prod(family.token_grid(size)) * (2 if neutral is None else 3)
    batch = min(MAX_BATCH, max(1, TOKENS_A_PASS // tokens_a_clip))
    finished = done

    def on_step() -> None:
        """Cancel takes effect here: a batch of clips of a large model takes minutes."""
        if on_progress is not None:
            on_progress(TrainProgress("trajectories", finished, total))

    starts = range(0, len(condition), batch)
    for turn in range(0, len(starts), workers.count):
        now = starts[turn : turn + workers.count]
        own = None
        # A sharded model computes only where all workers do: one without a batch of its own repeats the last.
        if workers.rank < len(now) or workers.sharded:
            start = now[min(workers.rank, len(now) - 1)]
            rows = slice(start, start + batch)
            own = _rollout(
                family, condition[rows], empty, None if neutral is None else neutral[rows], size, route,
                positions=(positions or [])[rows] or None, go_neutrally=go_neutrally[rows], seeds=seeds[rows], first=start,
                on_step=on_step,
            )  # fmt: skip
        for owner, start in enumerate(now):
            finished = done + min(start + batch, len(condition))
            on_step()
            yield workers.hand_round(own if owner == workers.rank else None, owner)


def _masks(found: Tensor, grid: tuple[int, int, int], positions: Sequence[Sequence[int]]) -> Tensor:
    masks = (concept_mask(found, grid) * WHOLE).round().to("cpu", torch.uint8)
    # A prompt that does not spell the concept says nothing about its place: everywhere is allowed.
    masks[[not spelled for spelled in positions]] = WHOLE
    return masks


def _rollout(
    family: Family,
    condition: TextCondition,
    empty: TextCondition,
    neutral: TextCondition | None,
    size: ClipSize,
    route: _Route,
    *,
    positions: Sequence[Sequence[int]] | None,
    go_neutrally: Sequence[bool],
    seeds: Sequence[int],
    first: int,
    on_step: Callable[[], None],
) -> Trajectories:
    count = len(condition)
    conditions = {"prompt": condition, "empty": empty.expand(count)}
    if neutral is not None:
        conditions["neutral"] = neutral
    scheduler = family.make_scheduler(route.num_steps, size)
    timesteps: list[Tensor] = []
    steps: list[Tensor] = []
    predictions: dict[str, list[Tensor]] = {name: [] for name in conditions}
    found: list[Tensor] = []
    neutrally = torch.tensor(go_neutrally, device=family.device).view(-1, *[1] * len(family.latent_shape(size)))

    def predict(latents: Tensor, timestep: Tensor) -> Tensor:
        """Record the point, and return the prediction that leads to the next one."""
        predicted = _predict_and_look(family, latents, timestep, conditions, size, route, positions, found)
        for name, prediction in predicted.items():
            predictions[name].append(prediction.to("cpu", torch.bfloat16))
        steps.append(latents.to("cpu", torch.bfloat16))
        timesteps.append(timestep.expand(count).cpu())
        way = predicted
        if route.driver is not None:
            with route.driver():
                way = _predict(family, latents, timestep, {name: conditions[name] for name in ("prompt", "empty")}, size)
        guided = guide(way["prompt"], way["empty"], route.guidance_scale)
        if any(go_neutrally):
            frozen = guide(predicted["neutral"], predicted["empty"], route.guidance_scale)
            guided = torch.where(neutrally, frozen, guided)
        return guided

    ends = denoise(scheduler, noise(family, size, seeds), predict, step=family.step, on_step=lambda *_: on_step())
    masks = None if positions is None else _masks(torch.stack(found).sum(0), family.token_grid(size), positions)
    return Trajectories(
        torch.cat(steps),
        torch.cat(timesteps),
        torch.arange(first, first + count).repeat(len(steps)),
        torch.arange(len(steps)).repeat_interleave(count) / len(steps),
        {name: torch.cat(parts) for name, parts in predictions.items()},
        ends.to("cpu", torch.bfloat16),
        masks,
    )


def _predict_and_look(
    family: Family,
    latents: Tensor,
    timestep: Tensor,
    conditions: dict[str, TextCondition],
    size: ClipSize,
    route: _Route,
    positions: Sequence[Sequence[int]] | None,
    found: list[Tensor],
) -> dict[str, Tensor]:
    """The frozen model's predictions; `found` gets where they show the concept in the first clips, (len(positions), N)."""
    if positions is not None and route.mask_source == "attention":
        with family.text_attention(positions, size, route.mask_layers) as watch:
            predicted = _predict(family, latents, timestep, conditions, size)
        found.append(watch.mean())
        return predicted
    predicted = _predict(family, latents, timestep, conditions, size)
    if positions is not None:
        v_concept, v_neutral = (predicted[name][: len(positions)] for name in ("prompt", "neutral"))
        found.append(prediction_difference(v_concept, v_neutral, family.channel_axis, family.token_grid(size)))
    return predicted


def _predict(
    family: Family, latents: Tensor, timestep: Tensor, conditions: dict[str, TextCondition], size: ClipSize
) -> dict[str, Tensor]:
    """One pass with every prompt at once, by name."""
    inputs = torch.cat([latents] * len(conditions))
    with torch.autocast(family.device.type, torch.bfloat16):
        predicted = family.predict(inputs, timestep.expand(len(inputs)), TextCondition.cat(list(conditions.values())), size)
    return dict(zip(conditions, predicted.chunk(len(conditions)), strict=True))
