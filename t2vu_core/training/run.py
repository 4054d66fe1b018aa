"""What a training run holds, made once and handed down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import torch

from t2vu_core.errors import UserError
from t2vu_core.families.base import Family
from t2vu_core.recipes import FewShotRecipe, VelocityRecipe
from t2vu_core.training.checkpoint import TrainingState
from t2vu_core.training.progress import ProgressCallback, TrainProgress
from t2vu_core.training.schedule import Schedule
from t2vu_core.training.velocity.cache import TrajectoryCache
from t2vu_core.training.workers import Workers


class Trainable(Protocol):
    """A model, as far as its precision can be trained in."""

    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...


Recipe = TypeVar("Recipe", VelocityRecipe, FewShotRecipe)


@dataclass(frozen=True)
class Run(Generic[Recipe]):
    """One training run. Only its `state` changes while it trains."""

    video: Family | None
    """The frozen video model; few-shot unlearning through an image model does without."""
    recipe: Recipe
    state: TrainingState = field(default_factory=TrainingState)
    workers: Workers = field(default_factory=Workers)
    cache: TrajectoryCache = field(default_factory=TrajectoryCache)
    on_progress: ProgressCallback | None = None

    @property
    def family(self) -> Family:
        """The frozen video model, where there is one."""
        assert self.video is not None
        return self.video

    @property
    def schedule(self) -> Schedule:
        """Steps and learning rates, as the recipe sets them."""
        return Schedule(self.recipe.steps, self.recipe.learning_rate)

    def report(self, progress: TrainProgress) -> None:
        """Tell the callback, if there is one; what it raises stops the run."""
        if self.on_progress is not None:
            self.on_progress(progress)

    def finish(self) -> None:
        """All steps are done: remove what only a resume would need."""
        self.cache.clear()
        if self.state.checkpoint:
            self.state.checkpoint.finish()


def check_precision(*models: Trainable | None) -> None:
    """Raise UserError for a model in fp16 on a CPU: PyTorch has no backward pass for it there."""
    if any(model is not None and model.device.type == "cpu" and model.dtype == torch.float16 for model in models):
        raise UserError("A model in fp16 cannot be trained on a CPU: load it in fp32 or bf16.")
