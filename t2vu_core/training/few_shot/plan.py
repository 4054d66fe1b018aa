"""The prompts of a few-shot run: with the concept, the same without it, and what must keep working."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2vu_core.mentions import says
from t2vu_core.model import T2VModel
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.pairs import PromptPair
from t2vu_core.prompts.plan import PLAN_VERSION, plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.prompts.templates import with_image_templates
from t2vu_core.prompts.two_subjects import both_orders, second_alone
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.training.few_shot.shot_models import AnyImageModel


@dataclass(frozen=True)
class EncoderPlan:
    """The prompts of a run; they are stored in the erasure file."""

    concepts: tuple[str, ...]
    pairs: tuple[PromptPair, ...]
    preserve: tuple[str, ...]
    plans: Mapping[str, Any]
    """Kind, names, replacement and neighbours of each concept."""
    near: tuple[str, ...] = ()
    """Preserve prompts that show a neighbour."""
    warnings: tuple[str, ...] = ()
    """What a user should look at before training."""

    def describe(self) -> dict[str, Any]:
        """The prompts as JSON values."""
        pairs = [[pair.prompt, pair.neutral] for pair in self.pairs]
        return {
            "version": PLAN_VERSION, "concepts": dict(self.plans), "pairs": pairs, "preserve": list(self.preserve),
            "near": list(self.near), "warnings": list(self.warnings),
        }  # fmt: skip

    def shots_of_pairs(self, count: int) -> Tensor:
        """Which of `count` generated shots show the concept of a pair, bool (P, count).

        Pairs that name no concept are trained on all shots, and so are pairs whose concept no shot shows.
        """
        names = [each["names"] for each in self.plans.values()]
        said = torch.tensor([[says(pair.prompt, own) for own in names] for pair in self.pairs])
        said[~said.any(1)] = True
        shown = said[torch.arange(count) % len(said)]
        same = (said[:, None] & shown).any(2)
        return same | ~same.any(1, keepdim=True)


def plan_encoder(model: T2VModel | AnyImageModel, request: ConceptRequest, recipe: FewShotRecipe) -> EncoderPlan:
    """Pairs of every concept in turn, and preserve prompts that name none of them."""
    folder, text = (model.family.folder, model.family.text) if isinstance(model, T2VModel) else (model.folder, model.text)
    return encoder_plan(folder, request, recipe, text.note)


def encoder_plan(folder: Path | None, request: ConceptRequest, recipe: FewShotRecipe, note: str | None = None) -> EncoderPlan:
    """The plan of a run on the model in that folder; `note` is what its text encoders say of themselves.

    No context names any of the concepts: the neutral prompt of one pair would otherwise preserve another concept.
    """
    prompts = prompt_set_for(folder)
    if folder is None or not (folder / "prompts.json").is_file():
        prompts = with_image_templates(prompts)
    # An encoder learns to leave a name out; that it says the other one twice is harder, and some of the concept stays.
    prompts = dataclasses.replace(prompts, things=both_orders(second_alone(prompts.things)))
    size = PlanSize(recipe.prompts, recipe.preserve_prompts, recipe.seed, recipe.augmentation)
    plan = plan_request(request, prompts, size)
    plans = {concept.title: concept.describe() for concept in plan.concepts}
    return EncoderPlan(request.concepts, plan.pairs, plan.preserve, plans, plan.near, (*plan.warnings, *filter(None, [note])))
