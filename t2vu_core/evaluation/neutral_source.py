"""The unchanged model as the neutral check looks at it: the neutral prompts of a recipe's plan, and clips of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from t2vu_core.families.text import Text
from t2vu_core.image_model import ImageModel
from t2vu_core.model import T2VModel
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.plan import plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import ClosedFormRecipe, FewShotRecipe, VelocityRecipe
from t2vu_core.training.closed_form.train import check_closed_form
from t2vu_core.training.few_shot.plan import plan_encoder
from t2vu_core.training.few_shot.shot_models import AnyImageModel
from t2vu_core.training.run import check_precision
from t2vu_core.training.velocity.points import clip_size

STEPS = 12
"""Denoising steps of a clip: enough to see what it will be. Fewer for a model that is sampled with fewer."""
AnyRecipe = VelocityRecipe | FewShotRecipe | ClosedFormRecipe
Preview = Callable[[], Tensor]
Told = Callable[[int, int, Preview | None], None]
"""Called after each denoising step with its number, their total, and the unfinished clip where that can be seen."""


@dataclass(frozen=True)
class NeutralSource:
    """A video model, or the image model that a text encoder is trained through, and the recipe of the run to come."""

    model: T2VModel | AnyImageModel
    recipe: AnyRecipe
    through: AnyImageModel | None = None
    """The image model that the text encoder of a video model is trained through: the recipe's size is that of its images."""

    @property
    def text(self) -> Text:
        """Its text encoder and tokenizer."""
        return self.model.family.text if isinstance(self.model, T2VModel) else self.model.text

    @property
    def folder(self) -> Path | None:
        """Where its own prompt set is, if it has one."""
        return self.model.family.folder if isinstance(self.model, T2VModel) else self.model.folder

    @property
    def steps(self) -> int:
        """Denoising steps of a clip."""
        usual = self.model.family.defaults if isinstance(self.model, T2VModel) else self.model
        return min(STEPS, usual.num_inference_steps)

    def check(self) -> None:
        """Raise UserError for a size or a precision that the run refuses."""
        recipe, model = self.recipe, self.model
        image_model = self.through if isinstance(model, T2VModel) else model
        if image_model is not None:
            image_model.check_size(*self._image_size(image_model))
            check_precision(image_model if isinstance(image_model, ImageModel) else None)
        if not isinstance(model, T2VModel):
            return
        if isinstance(recipe, VelocityRecipe):
            clip_size(model.family, recipe)
        elif self.through is None:
            model.clip_size(recipe.num_frames, recipe.height, recipe.width)
        if isinstance(recipe, ClosedFormRecipe):
            check_closed_form(model.family, recipe)
        else:
            check_precision(model.family)

    def plan(self, request: ConceptRequest) -> tuple[list[str], str]:
        """The neutral prompts of the run's plan, and what takes the first concept's place, in words."""
        recipe, asked = self.recipe, dataclasses.replace(request, language_model=None)
        if isinstance(recipe, FewShotRecipe):
            encoders = plan_encoder(self.model, asked, recipe)
            return [pair.neutral for pair in encoders.pairs], next(iter(encoders.plans.values()))["replacement"]
        pairs = recipe.concept_trajectories if isinstance(recipe, VelocityRecipe) else recipe.concept_prompts
        preserved = recipe.preserve_trajectories if isinstance(recipe, VelocityRecipe) else recipe.preserve_prompts
        size = PlanSize(pairs, preserved, recipe.seed, recipe.augmentation)
        plan = plan_request(asked, prompt_set_for(self.folder), size)
        return [pair.neutral for pair in plan.pairs], plan.concepts[0].replacement

    def clip(self, prompt: str, seed: int, told: Told, *, whole: bool) -> Tensor:
        """A clip (1, F, 3, H, W) in [0, 1] of the recipe's size; `whole` has at least the model's own number of frames.

        An exception from `told` stops the sampling.
        """
        if not isinstance(self.model, T2VModel):
            height, width = self._image_size(self.model)
            images = self.model.sample(
                prompt, seeds=seed, num_inference_steps=self.steps, height=height, width=width,
                on_step=lambda step, total: told(step, total, None),
            )  # fmt: skip
            return images[:, None]
        own = self.through is not None
        frames = 1 if own else self.recipe.num_frames
        if whole and not isinstance(self.recipe, VelocityRecipe):
            frames = max(frames, self.model.family.defaults.size.num_frames)
        return self.model.sample(
            prompt, seeds=seed, num_inference_steps=self.steps, num_frames=frames or None,
            height=None if own else self.recipe.height or None, width=None if own else self.recipe.width or None,
            on_step=lambda step: told(step.step, step.total, step.preview),
        )  # fmt: skip

    def _image_size(self, image_model: AnyImageModel) -> tuple[int, int]:
        return self.recipe.height or image_model.size[0], self.recipe.width or image_model.size[1]
