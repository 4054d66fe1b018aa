"""The prompts of a training against several concepts at once: those of each, in turn."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from t2vu_core.errors import UserError
from t2vu_core.prompts.pairs import PromptPair, says
from t2vu_core.prompts.plan import PromptPlan, PromptSet, clean_concept, concept_names, plan_prompts

log = logging.getLogger(__name__)

MANY = 10_000


def clean_concepts(concepts: str | Sequence[str], synonyms: Sequence[str] = ()) -> list[str]:
    """The words of one concept or of several, each once; UserError where one is empty, or a synonym belongs to no one."""
    found = list(dict.fromkeys(clean_concept(each) for each in ([concepts] if isinstance(concepts, str) else concepts or [""])))
    if len(found) > 1 and synonyms:
        raise UserError(
            f"With several concepts it is not clear whose synonym {synonyms[0]!r} is: add it as a concept of its own."
        )
    return found


def plan_several(
    concepts: Sequence[str],
    prompts: PromptSet,
    *,
    num_pairs: int,
    num_preserve: int,
    seed: int,
    synonyms: Sequence[str] = (),
    concept_prompts: Sequence[str] = (),
    written_prompts: Mapping[str, Sequence[str]],
    **options: Any,
) -> PromptPlan:
    """`plan_prompts` of each concept with its share of the pairs, and preserve prompts that say none of them.

    Of the user's `concept_prompts` each concept gets those that say it, and the first one those that say none;
    `written_prompts` are by concept. One concept alone gets what `plan_prompts` gives it.
    """
    names = {concept: concept_names(concept, prompts, synonyms) for concept in concepts}
    every = [name for own in names.values() for name in own]
    alone = len(concepts) == 1

    def own(concept: str) -> list[str]:
        first = concept == concepts[0]
        return [text for text in concept_prompts if alone or says(text, names[concept]) or (first and not says(text, every))]

    plans = [
        plan_prompts(
            concept, prompts, num_pairs=-(-num_pairs // len(concepts)), num_preserve=num_preserve if alone else MANY, seed=seed,
            synonyms=synonyms, concept_prompts=own(concept), written_prompts=written_prompts.get(concept, ()), **options,
        )
        for concept in concepts
    ]  # fmt: skip
    return plans[0] if alone else _joined(plans, every, options.get("preserve_prompts", ()), num_pairs, num_preserve)


def tell_unused(
    pairs: Sequence[PromptPair],
    preserve: Sequence[str],
    concept_prompts: Sequence[str],
    preserve_prompts: Sequence[str],
    *,
    settings: tuple[str, str],
) -> str | None:
    """Say aloud, and give back, how many of the user's own prompts found no place, and which setting gives more of them."""
    said = []
    used = {pair.prompt for pair in pairs}, set(preserve)
    for own, places, setting in zip((concept_prompts, preserve_prompts), used, settings, strict=True):
        left = [text for text in dict.fromkeys(own) if text not in places]
        if left:
            said.append(f"{len(left)} of your {len(own)} prompts are not used ({left[0]!r} is the first): raise {setting}.")
    if said:
        log.warning(" ".join(said))
    return " ".join(said) or None


def _joined(
    plans: Sequence[PromptPlan], names: Sequence[str], given: Sequence[str], num_pairs: int, num_preserve: int
) -> PromptPlan:
    longest = max(len(plan.pairs) for plan in plans)
    pairs = [plan.pairs[index] for index in range(longest) for plan in plans if index < len(plan.pairs)]
    kept = [text for text in plans[0].preserve if text in given or not says(text, names)]
    kinds = {plan.kind for plan in plans}
    sources = sum((Counter(plan.sources) for plan in plans), Counter[str]())
    return PromptPlan(
        ", ".join(plan.concept for plan in plans), "thing" if "thing" in kinds else "manner",
        tuple(dict.fromkeys(pairs))[:num_pairs], tuple(kept[:num_preserve]), tuple(dict.fromkeys(names)), dict(sources),
    )  # fmt: skip
