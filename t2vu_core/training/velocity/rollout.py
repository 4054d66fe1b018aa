"""Sampling trajectories of the frozen model, a batch of prompts at a time, and looking where the concept is in them.

B counts the clips of a batch, N video tokens.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from t2vu_core.families.base import Family, MaskLayers
from t2vu_core.families.clip_size import ClipSize
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.objectives.localization import concept_mask, prediction_difference
from t2vu_core.objectives.velocity import guide
from t2vu_core.recipes import MaskSource
from t2vu_core.sampling import denoise, noise
from t2vu_core.training.velocity.cache import TrajectoryCache
from t2vu_core.training.velocity.trajectories import MASK_ONE, PREDICTION, Trajectories
from t2vu_core.training.workers import Workers

MAX_BATCH = 8
TOKENS_A_PASS = 2**16
"""Video tokens of one pass at most: clips of a large model are sampled one by one."""

Driver = Callable[[], contextlib.AbstractContextManager[None]]
"""Within it the model computes as the student whose way is followed (on-policy)."""
OnClips = Callable[[int], None]
"""Called after every denoising step with the number of finished clips; what it raises stops the sampling."""


@dataclass(frozen=True)
class Route:
    """How trajectories go from noise to clip, and how masks are found on the way."""

    size: ClipSize
    num_steps: int
    guidance_scale: float
    mask_source: MaskSource = "prediction"
    mask_layers: MaskLayers = "all"
    driver: Driver | None = None
    """Chooses the way; the predictions that are kept are the frozen model's all the same."""


@dataclass(frozen=True)
class TrajectoryPrompts:
    """Encoded prompts, one trajectory each."""

    prompt: TextCondition
    empty: TextCondition
    """The empty prompt, once."""
    seeds: Sequence[int]
    neutral: TextCondition | None = None
    positions: Sequence[Sequence[int]] | None = None
    """The concept's text tokens in the first prompts, or in all; these trajectories get a mask."""
    neutral_way: Sequence[bool] = ()
    """Which trajectories follow their neutral prompt instead."""

    def __len__(self) -> int:
        return len(self.prompt)

    def __getitem__(self, rows: slice) -> TrajectoryPrompts:
        return replace(
            self,
            prompt=self.prompt[rows],
            seeds=self.seeds[rows],
            neutral=None if self.neutral is None else self.neutral[rows],
            positions=(self.positions or [])[rows] or None,
            neutral_way=self.neutral_way[rows],
        )

    def conditions(self) -> dict[str, TextCondition]:
        """What is predicted at every point, by name."""
        both = {"prompt": self.prompt, "empty": self.empty.expand(len(self))}
        return both if self.neutral is None else {**both, "neutral": self.neutral}


def sample_trajectories(family: Family, prompts: TrajectoryPrompts, route: Route) -> Trajectories:
    """The trajectories of all prompts, in memory."""
    parts = trajectory_parts(family, prompts, route)
    kept = TrajectoryCache().keep("all", lambda: parts, batches=batches_of(family, prompts, route), workers=Workers())
    return Trajectories.from_tensors(kept)


def batches_of(family: Family, prompts: TrajectoryPrompts, route: Route) -> int:
    """How many parts `trajectory_parts` gives."""
    return -(-len(prompts) // _batch_size(family, prompts, route))


@torch.no_grad()
def trajectory_parts(
    family: Family,
    prompts: TrajectoryPrompts,
    route: Route,
    on_clips: OnClips | None = None,
    workers: Workers | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Sample one trajectory per prompt with guidance; gives the tensors of `Trajectories`, a batch of prompts at a time.

    Several processes take turns, and each gets all batches in order.
    """
    workers, batch, finished = workers or Workers(), _batch_size(family, prompts, route), 0

    def on_step() -> None:
        if on_clips is not None:
            on_clips(finished)

    starts = range(0, len(prompts), batch)
    for turn in range(0, len(starts), workers.count):
        now = starts[turn : turn + workers.count]
        own = None
        # A sharded model computes only where all processes do: one without a batch of its own repeats the last.
        if workers.rank < len(now) or workers.sharded:
            start = now[min(workers.rank, len(now) - 1)]
            own = _rollout(family, prompts[start : start + batch], route, start, on_step)
        for owner, start in enumerate(now):
            finished = min(start + batch, len(prompts))
            on_step()
            yield workers.hand_round(own if owner == workers.rank else None, owner)


def _batch_size(family: Family, prompts: TrajectoryPrompts, route: Route) -> int:
    return _clips_a_pass(family, route.size, 2 if prompts.neutral is None else 3)


def _clips_a_pass(family: Family, size: ClipSize, predictions: int) -> int:
    return min(MAX_BATCH, max(1, TOKENS_A_PASS // (math.prod(family.token_grid(size)) * predictions)))


def rows_a_pass(family: Family, size: ClipSize) -> int:
    """The most rows of a pass that samples trajectories with a concept: three predictions for each clip."""
    return 3 * _clips_a_pass(family, size, 3)


def _rollout(
    family: Family, prompts: TrajectoryPrompts, route: Route, first: int, on_step: Callable[[], None]
) -> dict[str, Tensor]:
    """One batch; `first` is the index of its first prompt."""
    scheduler = family.make_scheduler(route.num_steps, route.size)
    recorder = _Recorder(family, prompts, route)
    latents = noise(family, route.size, prompts.seeds)
    # Cancel takes effect after every step: a batch of clips of a large model takes minutes.
    ends = denoise(scheduler, latents, recorder, step=family.step, on_step=lambda *_: on_step())
    return recorder.tensors(first, ends)


class _Recorder:
    """The predictor of one batch: it keeps every point with the frozen predictions and leads to the next one."""

    def __init__(self, family: Family, prompts: TrajectoryPrompts, route: Route) -> None:
        self._family, self._prompts, self._route = family, prompts, route
        self._conditions = prompts.conditions()
        self._latents: list[Tensor] = []
        self._timesteps: list[Tensor] = []
        self._predictions: dict[str, list[Tensor]] = {name: [] for name in self._conditions}
        self._found: list[Tensor] = []
        """Where the concept shows in the first clips, (len(positions), N) per step."""

    def __call__(self, latents: Tensor, timestep: Tensor) -> Tensor:
        """Record the point; returns the guided prediction."""
        frozen = self._predict_and_look(latents, timestep)
        for name, prediction in frozen.items():
            self._predictions[name].append(prediction.to("cpu", torch.bfloat16))
        self._latents.append(latents.to("cpu", torch.bfloat16))
        self._timesteps.append(timestep.expand(len(latents)).cpu())
        way, scale = frozen, self._route.guidance_scale
        if self._route.driver is not None:
            with self._route.driver():
                way = self._predict(latents, timestep, ("prompt", "empty"))
        guided = guide(way["prompt"], way["empty"], scale)
        if any(self._prompts.neutral_way):
            neutrally = torch.tensor(self._prompts.neutral_way, device=latents.device)
            neutral = guide(frozen["neutral"], frozen["empty"], scale)
            guided = torch.where(neutrally.view(-1, *[1] * (latents.dim() - 1)), neutral, guided)
        return guided

    def tensors(self, first: int, ends: Tensor) -> dict[str, Tensor]:
        """The recorded points, as `Trajectories.tensors` has them."""
        count, steps = len(ends), len(self._latents)
        masks = None if self._prompts.positions is None else self._masks(self._prompts.positions)
        return {
            "latents": torch.cat(self._latents),
            "timesteps": torch.cat(self._timesteps),
            "prompt": torch.arange(first, first + count).repeat(steps),
            "progress": torch.arange(steps).repeat_interleave(count) / steps,
            "ends": ends.to("cpu", torch.bfloat16),
            **({} if masks is None else {"masks": masks}),
            **{f"{PREDICTION}{name}": torch.cat(parts) for name, parts in self._predictions.items()},
        }

    def _masks(self, positions: Sequence[Sequence[int]]) -> Tensor:
        grid = self._family.token_grid(self._route.size)
        masks = (concept_mask(torch.stack(self._found).sum(0), grid) * MASK_ONE).round().to("cpu", torch.uint8)
        # A prompt that does not name the concept says nothing about its place: every place is allowed.
        masks[[not named for named in positions]] = MASK_ONE
        return masks

    def _predict_and_look(self, latents: Tensor, timestep: Tensor) -> dict[str, Tensor]:
        """The frozen predictions; `_found` gets where they show the concept."""
        family, route, positions = self._family, self._route, self._prompts.positions
        if positions is not None and route.mask_source == "attention":
            with family.text_attention(positions, route.size, route.mask_layers) as watch:
                predicted = self._predict(latents, timestep, tuple(self._conditions))
            self._found.append(watch.mean())
            return predicted
        predicted = self._predict(latents, timestep, tuple(self._conditions))
        if positions is not None:
            v_concept, v_neutral = (predicted[name][: len(positions)] for name in ("prompt", "neutral"))
            grid = family.token_grid(route.size)
            self._found.append(prediction_difference(v_concept, v_neutral, family.channel_axis, grid))
        return predicted

    def _predict(self, latents: Tensor, timestep: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """One pass with several prompts at once, by name."""
        family, inputs = self._family, torch.cat([latents] * len(names))
        conditions = TextCondition.cat([self._conditions[name] for name in names])
        with family.mixed_precision():
            predicted = family.predict(inputs, timestep.expand(len(inputs)), conditions, self._route.size)
        return dict(zip(names, predicted.chunk(len(names)), strict=True))
