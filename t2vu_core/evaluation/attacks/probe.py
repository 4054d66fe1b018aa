"""PROBE (arXiv 2603.21547): pseudo-tokens are learned against the frozen model, to see whether it still holds the concept.

One start and 150 steps are the cheap form, which underestimates what is left: styles come back later than that. With
`AttackBudget.starts` and `AttackBudget.curve` the vectors are measured from up to three starts and after several numbers of
steps, and the best of all of them count: an attacker keeps the vectors that show the concept most often.
Shapes: k learned tokens, D width of the input embeddings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from t2vu_core.evaluation.attacks.base import TARGET_SEED, Outcome, Target, tally
from t2vu_core.evaluation.attacks.denoising import first_and_last
from t2vu_core.evaluation.probe_stops import STARTS, title
from t2vu_core.mentions import says
from t2vu_core.model import T2VModel
from t2vu_core.training.pseudo_tokens import (
    ClipsToDenoise,
    Placeholder,
    TokenLearner,
    drawn_tokens,
    replaced,
    table_of,
    token_ids,
)

ALL_FOUND = "every clip showed the concept, so no later stop or start was tried"
OTHERS = ("a cat", "a car", "a house")
"""The other subject is the first of these that does not say the concept."""


def probe(model: T2VModel, target: Target) -> Outcome:
    """Learn input embeddings of the text encoder with which the model denoises clips of the concept.

    The loss is the denoising loss on clips of the base model. Of several starts, each measured at the stops of the curve
    and at the end, the start and stop with most clips of the concept count; the parts have all. The losses are those of
    that whole start. Nothing can surpass a stop at which every clip shows the concept: it is the last.
    """
    starts, steps = STARTS[: target.budget.starts], target.budget.steps
    found: list[Outcome] = []
    for start in starts:
        found.append(_from_start(model, target, start))
        if all(found[-1].found):
            break
    best = max(found, key=lambda each: sum(each.found))
    if len(starts) == 1 and not target.budget.curve:
        return Outcome(best.found, best.loss, f"one start of {steps} steps: a lower bound")
    parts = {name: part for each in found for name, part in each.parts.items()}
    return dataclasses.replace(best, parts=parts, note=ALL_FOUND if all(best.found) else "")


def _from_start(model: T2VModel, target: Target, start: str) -> Outcome:
    """The outcome from one start at its best stop, with how many clips showed the concept after how many steps."""
    names, found = (target.concept, target.name), dict[int, list[bool]]()

    def measure(step: int, placeholder: Placeholder, vectors: Tensor) -> bool:
        prompts = [placeholder.instead_of(names, case.prompt) for case in target.cases]
        with replaced(model.family, placeholder, vectors):
            found[step] = target.success(model, prompts)
        return all(found[step])

    *_, loss = learn_tokens(model, target, lambda soft: soft, start=start, at_stops=measure)
    curve = tally({title(start, step): each for step, each in found.items()})
    return Outcome(max(found.values(), key=sum), loss, parts=curve)


def learn_tokens(
    model: T2VModel,
    target: Target,
    read: Callable[[Tensor], Tensor],
    *,
    start: str = STARTS[0],
    at_stops: Callable[[int, Placeholder, Tensor], bool] = lambda *_: False,
) -> tuple[Placeholder, Tensor, tuple[float, float]]:
    """Minimise the denoising loss over k input vectors; `read` maps the learned (k, D) to the vectors that the encoder gets.

    Returns the placeholder, the vectors that the encoder gets, and the mean losses of the first and the last tenth.
    `at_stops` gets the number of steps done, the placeholder and the vectors after the steps of the curve and at the end,
    and says whether that is enough.
    """
    budget, family = target.budget, model.family
    pairs = target.training_prompts()
    placeholder = Placeholder.choose(family.text.tokenizer, [text for pair in pairs for text in pair] + [
        case.prompt for case in target.cases], budget.tokens)  # fmt: skip
    clean = target.latents_of_base([pair[0] for pair in pairs], TARGET_SEED + budget.seed * 1000)
    prompts = [pair[1].replace("{}", placeholder.text) for pair in pairs]
    learner = TokenLearner(
        family, placeholder, ClipsToDenoise(prompts, clean, model.clip_size()), _start(model, target, start),
        torch.Generator().manual_seed(budget.seed), batch_size=budget.batch_size, read=read,
    )  # fmt: skip
    for stop in sorted({*(step for step in budget.curve if step < budget.steps), budget.steps}):
        with model.active():
            vectors = learner.learn(stop, target.on_step)
        if at_stops(stop, placeholder, vectors):
            break
    return placeholder, vectors, first_and_last(learner.losses)


def _start(model: T2VModel, target: Target, start: str) -> Tensor:
    """The first vectors, (k, D): the tokens of a text, repeated, or tokens that the budget's seed draws."""
    table, count = table_of(model.family), target.budget.tokens
    if start == "random":
        return drawn_tokens(table, count, torch.Generator().manual_seed(target.budget.seed))
    text = target.concept
    if start == "another subject":
        text = next(other for other in OTHERS if not says(other, (target.concept, target.name)))
    own = token_ids(model.family.text.tokenizer, text)
    return table[[own[index % len(own)] for index in range(count)]].clone()
