"""Candidate pairs for one concept, in the order in which a plan takes them.

The user's own prompts come first, then those of a language model, then what `augmentation` adds: `none` uses the names
alone, `templates` puts the names into the contexts of a prompt set, `grammar` mixes those with paraphrases of every
length. An eraser trained on short prompts alone misses the long ones that language models write; T2VUnlearning
(arXiv 2505.17550) rewrites its prompts for the same reason.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from t2vu_core.mentions import mentions
from t2vu_core.prompts.grammar import grammar_pairs
from t2vu_core.prompts.pairs import (
    NEUTRAL,
    ConceptKind,
    PromptPair,
    as_manner,
    concept_kind,
    contains_name,
    definite,
    tidy,
    with_article,
)
from t2vu_core.prompts.prompt_set import PromptSet
from t2vu_core.recipes import Augmentation

PairSource = Literal["own", "language_model", "name", "templates", "grammar"]


@dataclass(frozen=True)
class ConceptTexts:
    """One concept of a request and the prompts that were written for it."""

    names: tuple[str, ...]
    """The concept's own name first."""
    own: Sequence[str] = ()
    """The user's prompts."""
    written: Sequence[str] = ()
    """Prompts of a language model."""

    @property
    def kind(self) -> ConceptKind:
        """Whether the concept is a thing or a manner."""
        return concept_kind(self.names[0])


@dataclass(frozen=True)
class PlanSize:
    """How many prompts to choose, and how: the same seed chooses the same ones."""

    num_pairs: int
    num_preserve: int
    seed: int
    augmentation: Augmentation = "templates"


def candidate_pairs(
    texts: ConceptTexts, prompts: PromptSet, size: PlanSize, rng: random.Random
) -> dict[PromptPair, PairSource]:
    """Different pairs with their source; usually more than `size.num_pairs`."""
    found: dict[PromptPair, PairSource] = {_own_pair(text, texts): "own" for text in texts.own}
    for text in texts.written:
        found.setdefault(_own_pair(text, texts), "language_model")
    templates = _template_pairs(texts, prompts, rng)
    for pair, source in _augmented(templates, texts, size):
        found.setdefault(pair, source)
    return found


def _template_pairs(texts: ConceptTexts, prompts: PromptSet, rng: random.Random) -> list[PromptPair]:
    kind, names = texts.kind, texts.names
    # Without its slot, so that a name such as "{" is not found in every context.
    every = prompts.manners if kind == "manner" else prompts.things
    contexts = [text for text in every if not contains_name(text.replace("{}", ""), names)]
    fillings = [(context, name) for context in contexts for name in names]
    rng.shuffle(fillings)
    # The model usually knows the name that the user gave best: it gets half of the contexts.
    own = [(context, names[0]) for context in rng.sample(contexts, len(contexts))]
    mixed = [filling for both in zip(own, fillings, strict=False) for filling in both] + fillings
    return [_fill(context, name, kind) for context, name in dict.fromkeys(mixed)]


def _augmented(templates: Sequence[PromptPair], texts: ConceptTexts, size: PlanSize) -> Iterator[tuple[PromptPair, PairSource]]:
    if size.augmentation == "none":
        yield from ((_fill("{}", name, texts.kind), "name") for name in texts.names)
        return
    paraphrases: Iterator[PromptPair] = iter(())
    if size.augmentation == "grammar":
        paraphrases = iter(grammar_pairs(texts.names, texts.kind, count=size.num_pairs, seed=size.seed))
    for pair in templates:
        yield pair, "templates"
        yield from ((paraphrase, "grammar") for paraphrase in islice(paraphrases, 1))
    yield from ((paraphrase, "grammar") for paraphrase in paraphrases)


def _fill(context: str, name: str, kind: ConceptKind) -> PromptPair:
    if kind == "manner":
        return PromptPair(tidy(context.replace("{}", as_manner(name))), tidy(context.replace("{}", "")))
    return PromptPair(tidy(context.replace("{}", with_article(name))), tidy(context.replace("{}", NEUTRAL)))


def _own_pair(text: str, texts: ConceptTexts) -> PromptPair:
    """A given prompt with its neutral form: the concept's words are replaced; empty if it contains none of them."""
    manner = texts.kind == "manner"
    neutral, replacement = text, "" if manner else NEUTRAL
    for name in sorted(texts.names, key=len, reverse=True):
        for form in (with_article(name), definite(name), as_manner(name) if manner else name, name):
            neutral = _replaced(neutral, form, replacement)
    return PromptPair(text, "" if neutral == text else tidy(neutral))


def _replaced(text: str, form: str, replacement: str) -> str:
    """A plural ending is replaced with the name; a possessive 's stays after the replacement."""
    return mentions(form).sub(lambda found: replacement + (found["possessive"] or ""), text)
