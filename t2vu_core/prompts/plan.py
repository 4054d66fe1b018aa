"""The prompts of a training run: pairs with and without the concept, and prompts that must keep working.

A concept is a thing ("ghost") or a manner ("in noir style"). The neutral prompt of a pair says what the erased model
should show instead, so that only the concept goes and not the rest of the sentence: "something" in a thing's place,
nothing in a manner's place.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from t2vu_core.prompts.candidates import ConceptTexts, PlanSize, candidate_pairs
from t2vu_core.prompts.grammar import elaborate
from t2vu_core.prompts.pairs import ConceptKind, PromptPair, contains_name
from t2vu_core.prompts.prompt_set import PromptSet, names_by_concept
from t2vu_core.prompts.request import ConceptRequest

log = logging.getLogger(__name__)

MANY = 10_000
NO_PROMPTS: Mapping[str, Sequence[str]] = MappingProxyType({})


@dataclass(frozen=True)
class PromptPlan:
    """The prompts of a training run; they are stored in the erasure file."""

    concept: str
    kind: ConceptKind
    pairs: tuple[PromptPair, ...]
    preserve: tuple[str, ...]
    names: tuple[str, ...]
    """What the pairs call the concept; its own name first."""
    sources: Mapping[str, int]
    """How many pairs come from each source: `own`, `language_model`, `name`, `templates`, `grammar`."""

    def describe(self) -> dict[str, Any]:
        """The prompts as JSON values."""
        return {
            "concept_kind": self.kind,
            "names": list(self.names),
            "sources": dict(self.sources),
            "pairs": [[pair.prompt, pair.neutral] for pair in self.pairs],
            "preserve": list(self.preserve),
        }


def plan_request(
    request: ConceptRequest, prompts: PromptSet, size: PlanSize, written: Mapping[str, Sequence[str]] = NO_PROMPTS
) -> PromptPlan:
    """Choose the prompts for a request; `written` are a language model's prompts by concept.

    Several concepts share the pairs in turn. Each gets those of the user's `concept_prompts` that name it, and the first
    one also those that name none. The user's preserve prompts come first; the others name none of the concepts.
    """
    names = names_by_concept(request, prompts)
    share = replace(size, num_pairs=-(-size.num_pairs // len(names)))
    if len(names) > 1:
        # The first concept's preserve prompts are shortened after those that name another concept are gone.
        share = replace(share, num_preserve=MANY)
    texts = [ConceptTexts(own, _own_prompts(request, names, each), written.get(each, ())) for each, own in names.items()]
    plans = [_plan_concept(each, request, prompts, share) for each in texts]
    return plans[0] if len(plans) == 1 else _joined(plans, request, size)


def warn_unused(plan: Any, request: ConceptRequest, settings: tuple[str, str]) -> str | None:
    """Log and return how many of the user's prompts `plan` (with `pairs` and `preserve`) does not use.

    `settings` name what to raise for more concept prompts and for more preserve prompts.
    """
    messages = []
    used = {pair.prompt for pair in plan.pairs}, set(plan.preserve)
    for own, chosen, setting in zip((request.concept_prompts, request.preserve_prompts), used, settings, strict=True):
        left = [text for text in dict.fromkeys(own) if text not in chosen]
        if left:
            messages.append(f"{len(left)} of your {len(own)} prompts are not used ({left[0]!r} is the first): raise {setting}.")
    if messages:
        log.warning(" ".join(messages))
    return " ".join(messages) or None


def _own_prompts(request: ConceptRequest, names: Mapping[str, Sequence[str]], concept: str) -> list[str]:
    if len(names) == 1:
        return list(request.concept_prompts)
    every = [name for own in names.values() for name in own]
    first = concept == request.concepts[0]
    return [
        text
        for text in request.concept_prompts
        if contains_name(text, names[concept]) or (first and not contains_name(text, every))
    ]


def _plan_concept(texts: ConceptTexts, request: ConceptRequest, prompts: PromptSet, size: PlanSize) -> PromptPlan:
    rng = random.Random(size.seed)
    chosen = dict(list(candidate_pairs(texts, prompts, size, rng).items())[: size.num_pairs])
    preserve = tuple(dict.fromkeys([*request.preserve_prompts, *_preserve(texts, prompts, size, rng)]))
    return PromptPlan(
        texts.names[0], texts.kind, tuple(chosen), preserve[: size.num_preserve], texts.names, dict(Counter(chosen.values()))
    )


def _preserve(texts: ConceptTexts, prompts: PromptSet, size: PlanSize, rng: random.Random) -> list[str]:
    """The prompt set's preserve prompts that do not name the concept; with `grammar` every second one is long."""
    kept = [text for text in prompts.preserve if not contains_name(text, texts.names)]
    rng.shuffle(kept)
    if size.augmentation != "grammar":
        return kept
    return [elaborate(text, texts.names, seed=size.seed) if index % 2 else text for index, text in enumerate(kept)]


def _joined(plans: Sequence[PromptPlan], request: ConceptRequest, size: PlanSize) -> PromptPlan:
    """One plan for several concepts: their pairs in turn, and preserve prompts that name none of them."""
    names = tuple(dict.fromkeys(name for plan in plans for name in plan.names))
    longest = max(len(plan.pairs) for plan in plans)
    pairs = [plan.pairs[index] for index in range(longest) for plan in plans if index < len(plan.pairs)]
    kept = [text for text in plans[0].preserve if text in request.preserve_prompts or not contains_name(text, names)]
    kind: ConceptKind = "thing" if any(plan.kind == "thing" for plan in plans) else "manner"
    sources = sum((Counter(plan.sources) for plan in plans), Counter[str]())
    chosen = tuple(dict.fromkeys(pairs))[: size.num_pairs]
    return PromptPlan(request.title, kind, chosen, tuple(kept[: size.num_preserve]), names, dict(sources))
