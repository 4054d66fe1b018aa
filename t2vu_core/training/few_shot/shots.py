"""The shots of a few-shot run: the user's images, or what the frozen model generates for the concept's prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.image_files import check_count
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.training.few_shot.plan import EncoderPlan
from t2vu_core.training.few_shot.shot_models import ShotModel
from t2vu_core.training.progress import ProgressCallback, TrainProgress

SHOT_SEEDS, SHOTS_A_SEED = 20_000_000, 10_000
SHOT_BATCH = 4


@dataclass(frozen=True)
class _Report:
    """Reports `count` shots as they are made, in denoising steps of their batches."""

    on_progress: ProgressCallback | None
    count: int

    def __call__(self, made: Sequence[Tensor], step: int, total: int) -> None:
        if self.on_progress is not None:
            note = f"{sum(map(len, made))} of {self.count} made"
            preview = (lambda: torch.cat(list(made))) if made else None
            self.on_progress(TrainProgress("shots", step, total, preview=preview, note=note))


def given_shots(images: Tensor, model: ShotModel, on_progress: ProgressCallback | None) -> Tensor:
    """The user's images (B, 3, H, W) in [0, 1] as shots (B, F, 3, H, W) of the model's size.

    Resized, not cropped, as in arXiv 2405.07288. Raises UserError if they are not such images.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not len(images) or not torch.isfinite(images).all():
        raise UserError(f"Shots must be images (B, 3, H, W) of finite numbers in [0, 1], not {tuple(images.shape)}.")
    check_count(len(images), "The batch holds")
    sized = F.interpolate(images.float(), model.pixels, mode="bicubic", antialias=True).clamp(0, 1)
    shots = sized[:, None].repeat(1, model.num_frames, 1, 1, 1)
    _Report(on_progress, len(shots))([shots], len(shots), len(shots))
    return shots


def generated_shots(model: ShotModel, plan: EncoderPlan, recipe: FewShotRecipe, on_progress: ProgressCallback | None) -> Tensor:
    """Shots (B, F, 3, H, W) in [0, 1] that the frozen model generates for the concept prompts in turn."""
    prompts = [plan.pairs[index % len(plan.pairs)].prompt for index in range(recipe.shots)]
    seeds = [SHOT_SEEDS + SHOTS_A_SEED * recipe.seed + index for index in range(recipe.shots)]
    report, made, steps = _Report(on_progress, recipe.shots), list[Tensor](), 0

    def on_step(step: int, total: int) -> None:
        nonlocal steps
        steps = total * math.ceil(recipe.shots / SHOT_BATCH)
        report(made, total * len(made) + step, steps)

    for first in range(0, recipe.shots, SHOT_BATCH):
        rows = slice(first, first + SHOT_BATCH)
        made.append(model.sample(prompts[rows], seeds[rows], recipe.shot_steps, on_step))
    report(made, steps, steps)
    return torch.cat(made)
