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

from t2vu_core.prompts.concept import Concept
from t2vu_core.prompts.finished import instead_of_all
from t2vu_core.prompts.grammar import grammar_pairs
from t2vu_core.prompts.neutral import without_concepts
from t2vu_core.prompts.pairs import PromptPair
from t2vu_core.prompts.prompt_set import PromptSet
from t2vu_core.recipes import Augmentation

PairSource = Literal["own", "language_model", "name", "templates", "grammar"]


@dataclass(frozen=True)
class ConceptTexts:
    """One concept of a request and the prompts that were written for it."""

    concept: Concept
    every: tuple[Concept, ...]
    """All concepts of the request, this one among them."""
    own: Sequence[str] = ()
    """The user's prompts."""
    written: Sequence[str] = ()
    """Prompts of a language model."""


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
    """Different pairs with their source; usually more than `size.num_pairs`. `prompts` say none of the concepts."""
    found: dict[PromptPair, PairSource] = {_own_pair(text, texts): "own" for text in texts.own}
    for text in texts.written:
        found.setdefault(_own_pair(text, texts), "language_model")
    templates = _template_pairs(texts.concept, prompts.contexts(texts.concept.context_kind), rng)
    for pair, source in _augmented(templates, texts.concept, size):
        found.setdefault(pair, source)
    return found


def _template_pairs(concept: Concept, contexts: Sequence[str], rng: random.Random) -> list[PromptPair]:
    fillings = [(context, name) for context in contexts for name in concept.names]
    rng.shuffle(fillings)
    # The model usually knows the name that the user gave best: it gets half of the contexts.
    own = [(context, concept.names[0]) for context in rng.sample(contexts, len(contexts))]
    mixed = [filling for both in zip(own, fillings, strict=False) for filling in both] + fillings
    fitting = [(context, concept.wording(name)) for context, name in mixed]
    return list(dict.fromkeys(wording.fill(context) for context, wording in fitting if wording.fits(context)))


def _augmented(templates: Sequence[PromptPair], concept: Concept, size: PlanSize) -> Iterator[tuple[PromptPair, PairSource]]:
    if size.augmentation == "none":
        alone = "{scene}" if concept.kind == "act" else "{}"
        yield from ((concept.wording(name).fill(alone), "name") for name in concept.names)
        return
    paraphrases: Iterator[PromptPair] = iter(())
    if size.augmentation == "grammar":
        paraphrases = iter(grammar_pairs(concept, count=size.num_pairs, seed=size.seed))
    for pair in templates:
        yield pair, "templates"
        yield from ((paraphrase, "grammar") for paraphrase in islice(paraphrases, 1))
    yield from ((paraphrase, "grammar") for paraphrase in paraphrases)


def _own_pair(text: str, texts: ConceptTexts) -> PromptPair:
    """A given prompt with its neutral form; what replaces the concept if it says none of the concepts."""
    return PromptPair(text, without_concepts(text, texts.every) or instead_of_all(texts.concept))
