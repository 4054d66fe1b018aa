"""What a step of few-shot encoder unlearning draws from: encoded shots and prompts, and fixed probe points.

P counts prompts, B rows of a batch, N shots with their mirror images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from t2vu_core.families.text_condition import TextCondition
from t2vu_core.prompts.pairs import PromptPair
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.training.few_shot.plan import EncoderPlan
from t2vu_core.training.few_shot.shot_models import ShotModel
from t2vu_core.training.noising import add_noise
from t2vu_core.training.progress import ProgressCallback, TrainProgress

ENCODE_BATCH = 16


@dataclass(frozen=True)
class NoisyShots:
    """Inputs of the denoiser, (B, ...), with the prediction that it was trained for there."""

    latents: Tensor
    timesteps: Tensor
    true: Tensor

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, rows: slice) -> NoisyShots:
        return NoisyShots(self.latents[rows], self.timesteps[rows], self.true[rows])

    def twice(self) -> NoisyShots:
        """The rows, and the same rows again."""
        return NoisyShots(*(torch.cat([part] * 2) for part in (self.latents, self.timesteps, self.true)))


@dataclass(frozen=True)
class Material:
    """Everything that a step draws from; the conditions are those of the frozen encoder."""

    model: ShotModel
    latents: Tensor
    scheduler: Any
    own: Tensor
    """Which latents show the concept of a pair's prompt, bool (P, N); the prompt is trained on those."""
    pairs: tuple[PromptPair, ...]
    kept: tuple[str, ...]
    """Prompts that must keep working, the empty one first."""
    concept: TextCondition
    neutral: TextCondition
    keep: TextCondition

    def draw(self, rows: Tensor, generator: torch.Generator) -> NoisyShots:
        """For each pair in `rows` a random shot of its concept, with random noise of a random level."""
        own, scheduler, device = self.own[rows], self.scheduler, self.model.device
        clean = self.latents[torch.multinomial(own.float(), 1, generator=generator)[:, 0]]
        place = torch.randint(0, len(scheduler.timesteps), (len(own),), generator=generator)
        eps = torch.randn(clean.shape, generator=generator)
        noisy, true = add_noise(scheduler, clean, eps, place)
        timesteps = scheduler.timesteps.cpu()[place]
        return NoisyShots(noisy.to(device), timesteps.to(device), true.to(device))

    def predict(self, points: NoisyShots, condition: TextCondition) -> Tensor:
        """The frozen denoiser's prediction."""
        with self.model.mixed_precision():
            return self.model.predict(points.latents, points.timesteps, condition)


@torch.no_grad()
def collect(
    model: ShotModel,
    shots: Tensor,
    plan: EncoderPlan,
    recipe: FewShotRecipe,
    own: Tensor | None = None,
    on_progress: ProgressCallback | None = None,
) -> Material:
    """Encode the shots, their mirror images and all prompts once. What `on_progress` raises stops it.

    `own` says which shots show the concept of a pair, bool (P, shots); all of them if it is None.
    """
    pairs = plan.pairs
    latents = _encoded_shots(model, torch.cat([shots, shots.flip(-1)]), on_progress)
    own = torch.ones(len(pairs), len(shots), dtype=torch.bool) if own is None else own
    kept = tuple(dict.fromkeys(["", *plan.preserve, *(pair.neutral for pair in pairs)]))
    neutrals = [pair.neutral if recipe.reference == "neutral" else "" for pair in pairs]
    concept, neutral, keep = (encode_all(model, texts) for texts in ([pair.prompt for pair in pairs], neutrals, kept))
    return Material(model, latents, model.scheduler(), torch.cat([own, own], dim=1), tuple(pairs), kept, concept, neutral, keep)


def _encoded_shots(model: ShotModel, shots: Tensor, on_progress: ProgressCallback | None) -> Tensor:
    latents = []
    for done, shot in enumerate(shots):
        if on_progress is not None:
            on_progress(TrainProgress("encoding", done, len(shots)))
        latents.append(model.latents_of(shot[None]).float().cpu())
    return torch.cat(latents)


def encode_all(model: ShotModel, prompts: Sequence[str]) -> TextCondition:
    """Many prompts as the encoder represents them now, a few at a time."""
    batches = [prompts[first : first + ENCODE_BATCH] for first in range(0, len(prompts), ENCODE_BATCH)]
    return TextCondition.cat([model.encode(batch) for batch in batches])
