"""The prompts of a velocity run, encoded once: one per trajectory, and where the concept's tokens are in them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from t2vu_core.families.base import Family
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.prompts.concept import said_alone
from t2vu_core.prompts.pairs import PromptPair
from t2vu_core.prompts.plan import PromptPlan
from t2vu_core.prompts.prompt_set import PromptSet
from t2vu_core.prompts.two_subjects import two_subject_pairs
from t2vu_core.prompts.wording import SUBJECT_KINDS
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.progress import ProgressCallback, TrainProgress
from t2vu_core.training.velocity.aligned import aligned_neutral
from t2vu_core.training.velocity.gapped_prompts import ENCODE_BATCH, GappedPrompts

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Positions = list[list[int]]
NEUTRAL_OF = {"concept": "neutral", "two_subjects": "alone"}
"""Conditions with the concept, and the ones that say the same without it."""


@dataclass(frozen=True)
class EncodedPrompts:
    """Encoded prompts, repeated to one per trajectory; by name `concept`, `two_subjects`, `preserve`."""

    conditions: dict[str, TextCondition]
    """With `empty` (once), and `neutral` and `alone`: what `concept` and `two_subjects` say without the concept.

    `aligned` is `neutral` with every token where `concept` says the same, for recipes that mix the two.
    """
    positions: dict[str, Positions]
    """Where the concept's tokens are in the text, for `concept` and `two_subjects`."""
    near: Tensor | None = None
    """Which preserve prompts show a neighbour of the concept, bool (C,); None if that is not told apart."""
    gapped: GappedPrompts | None = None
    """The concept's prompts with a placeholder in its place, for recipes with rounds of PROBE."""


def encode_prompts(
    family: Family, plan: PromptPlan, prompt_set: PromptSet, recipe: VelocityRecipe, on_progress: ProgressCallback | None = None
) -> EncodedPrompts:
    """Encode every prompt, so that the text encoder is not needed any more but for rounds of PROBE.

    What `on_progress` raises stops it. Raises UserError if rounds are asked for and the tokenizer has no word for them.
    """
    pairs = repeated(plan.pairs, recipe.concept_trajectories)
    texts = {"empty": [""], "concept": [pair.prompt for pair in pairs], "neutral": [pair.neutral for pair in pairs]}
    both = _two_subjects(plan, prompt_set, recipe)
    if both:
        texts |= {"two_subjects": [pair.prompt for pair in both], "alone": [pair.neutral for pair in both]}
    if plan.preserve and recipe.preserves:
        texts["preserve"] = repeated(plan.preserve, recipe.preserve_trajectories)
    gapped = GappedPrompts.of(family, plan, pairs) if recipe.probe_rounds else None
    positions: dict[str, Positions] = {
        name: [named_at(family, prompt, plan.names) for prompt in texts[name]] for name in NEUTRAL_OF if name in texts
    }
    near = [text in set(plan.near) for text in texts.get("preserve", ())]
    # With only one sort there is nothing to choose between.
    told_apart = torch.tensor(near) if any(near) and not all(near) else None
    conditions = _encoded(family, texts, on_progress)
    if recipe.mixed_share:
        both_texts = list(zip(texts["concept"], texts["neutral"], strict=True))
        conditions["aligned"] = aligned_neutral(family, both_texts, conditions["concept"], conditions["neutral"])
    return EncodedPrompts(conditions, positions, told_apart, gapped)


def _encoded(
    family: Family, texts: Mapping[str, Sequence[str]], on_progress: ProgressCallback | None
) -> dict[str, TextCondition]:
    done, total, encoded = 0, sum(map(len, texts.values())), {}
    for name, prompts in texts.items():
        batches = []
        for first in range(0, len(prompts), ENCODE_BATCH):
            if on_progress is not None:
                on_progress(TrainProgress("encoding", done + first, total))
            batches.append(family.encode(prompts[first : first + ENCODE_BATCH]))
        encoded[name] = TextCondition.cat(batches)
        done += len(prompts)
    return encoded


def first_named(positions: Positions) -> int:
    """The first prompt that names the concept, else the first prompt."""
    return next((index for index, found in enumerate(positions) if found), 0)


def repeated(items: Sequence[Item], count: int) -> list[Item]:
    """The items in turn up to `count`; every repetition gets a seed of its own."""
    return [items[index % len(items)] for index in range(count)]


def _two_subjects(plan: PromptPlan, prompt_set: PromptSet, recipe: VelocityRecipe) -> list[PromptPair]:
    wanted = recipe.two_subject_trajectories
    if not wanted:
        return []
    subjects = [concept for concept in plan.concepts if concept.kind in SUBJECT_KINDS]
    if not subjects:
        log.warning(
            "%r is a %s and cannot appear next to a second subject: two_subject_trajectories has no effect.",
            plan.title,
            plan.kind,
        )
        return []
    said = [name for concept in subjects for name in said_alone(concept)]
    pairs = two_subject_pairs(said, plan.avoided, prompt_set.things, plan.preserve, count=wanted, seed=recipe.seed)
    if not pairs:
        log.warning("No prompt has a second subject next to %r: two_subject_trajectories has no effect.", plan.title)
    return repeated(pairs, wanted) if pairs else []


def named_at(family: Family, prompt: str, names: Sequence[str]) -> list[int]:
    """Positions of the concept's tokens, whichever name the prompt uses."""
    return sorted({position for name in names for position in family.concept_positions(prompt, name)})
