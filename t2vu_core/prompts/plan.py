"""The prompts of one training: pairs with and without the concept, and prompts that must keep working.

A concept is a thing ("ghost") or a manner ("in noir style", "pencil sketch style"). Contexts are
sentences with a place for it; the neutral sentence of a pair has "something" in that place, or nothing
where a manner stood. The neutral sentence says what the erased model should do instead, so that only
the concept goes, not the rest of the sentence. Augmentation says in how many ways a concept is said:
an eraser that saw short prompts alone leaves the long ones that language models write (T2VUnlearning,
arXiv 2505.17550, rewrites its prompts for that reason).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

from t2vu_core.errors import UserError
from t2vu_core.mentions import mentions
from t2vu_core.prompts.grammar import elaborate, grammar_pairs
from t2vu_core.prompts.pairs import (
    NEUTRAL,
    ConceptKind,
    PromptPair,
    as_manner,
    bare,
    concept_kind,
    definite,
    says,
    tidy,
    with_article,
)
from t2vu_core.recipes import Augmentation


@dataclass(frozen=True)
class PromptPlan:
    """What a training uses; it is stored in the erasure file."""

    concept: str
    kind: ConceptKind
    pairs: tuple[PromptPair, ...]
    preserve: tuple[str, ...]
    names: tuple[str, ...]
    """What the pairs call the concept: its own name first."""
    sources: Mapping[str, int]
    """How many of the pairs come from where: `own`, `language_model`, `name`, `templates`, `grammar`."""

    def describe(self) -> dict[str, Any]:
        """The prompts as JSON values."""
        return {
            "concept_kind": self.kind,
            "names": list(self.names),
            "sources": dict(self.sources),
            "pairs": [[pair.prompt, pair.neutral] for pair in self.pairs],
            "preserve": list(self.preserve),
        }


@dataclass(frozen=True)
class PromptSet:
    """Contexts for things and manners, preserve prompts, and other names of concepts."""

    things: tuple[str, ...]
    manners: tuple[str, ...]
    preserve: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> PromptSet:
        names = {name: tuple(others) for name, others in content.get("names", {}).items()}
        return cls(tuple(content["things"]), tuple(content["manners"]), tuple(content["preserve"]), names)


def prompt_set_for(folder: Path | None) -> PromptSet:
    """The prompt set that lies in a model's folder, or the general one."""
    own = folder / "prompts.json" if folder else None
    if own is None or not own.is_file():
        return _general_prompt_set()
    try:
        return PromptSet.parse(json.loads(own.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{own} is not a prompt set: {error}.") from error


def plan_prompts(
    concept: str,
    prompts: PromptSet,
    *,
    num_pairs: int,
    num_preserve: int,
    seed: int,
    synonyms: Sequence[str] = (),
    concept_prompts: Sequence[str] = (),
    written_prompts: Sequence[str] = (),
    preserve_prompts: Sequence[str] = (),
    augmentation: Augmentation = "templates",
) -> PromptPlan:
    """Choose the prompts of a training; the same seed chooses the same.

    The user's own prompts come first, then those that a language model wrote. What is missing to `num_pairs`
    comes from `augmentation`: `none` says the names alone, `templates` fills the contexts of the prompt set with
    the names, `grammar` mixes those with paraphrases of every length, and makes every second preserve prompt
    a long one too.
    """
    concept = clean_concept(concept)
    kind, rng = concept_kind(concept), random.Random(seed)
    names = concept_names(concept, prompts, synonyms)
    found = {_own_pair(text, names, kind): "own" for text in concept_prompts}
    for text in written_prompts:
        found.setdefault(_own_pair(text, names, kind), "language_model")
    templates = _template_pairs(concept, names, kind, prompts, rng)
    for pair, source in _augmented(augmentation, templates, names, kind, num_pairs, seed):
        found.setdefault(pair, source)
    chosen = dict(list(found.items())[:num_pairs])
    kept = [text for text in prompts.preserve if not says(text, names)]
    rng.shuffle(kept)
    if augmentation == "grammar":
        kept = [elaborate(text, names, seed=seed) if index % 2 else text for index, text in enumerate(kept)]
    preserve = tuple(dict.fromkeys([*preserve_prompts, *kept]))[:num_preserve]
    sources = {source: list(chosen.values()).count(source) for source in dict.fromkeys(chosen.values())}
    return PromptPlan(concept, kind, tuple(chosen), preserve, names, sources)


def clean_concept(concept: str) -> str:
    """The concept's words; UserError where there are none."""
    concept = " ".join(concept.split())
    if not concept:
        raise UserError('The concept is empty: say in words what to erase, for example "ghost".')
    return concept


def concept_names(concept: str, prompts: PromptSet, synonyms: Sequence[str] = ()) -> tuple[str, ...]:
    """The concept, the user's other names for it, and those that the prompt set knows.

    A name with more words is one of the concept's kind: who erases "sketch style" erases "pencil sketch style".
    """
    known: list[str] = []
    for name, others in prompts.names.items():
        if concept_kind(name) == concept_kind(concept) and set(bare(concept).split()) <= set(bare(name).split()):
            known += others if bare(name) == bare(concept) else (name, *others)
    said = (" ".join(synonym.split()) for synonym in synonyms)
    return tuple(dict.fromkeys([concept, *filter(None, said), *known]))


def _template_pairs(
    concept: str, names: Sequence[str], kind: ConceptKind, prompts: PromptSet, rng: random.Random
) -> list[PromptPair]:
    contexts = [text for text in (prompts.manners if kind == "manner" else prompts.things) if not says(text, names)]
    fillings = [(context, name) for context in contexts for name in names]
    rng.shuffle(fillings)
    # The name that the user gave is what a model knows best: it gets half of the contexts.
    own = [(context, concept) for context in rng.sample(contexts, len(contexts))]
    mixed = [filling for both in zip(own, fillings, strict=False) for filling in both] + fillings
    return [_fill(context, name, kind) for context, name in dict.fromkeys(mixed)]


def _augmented(
    augmentation: Augmentation,
    templates: Sequence[PromptPair],
    names: Sequence[str],
    kind: ConceptKind,
    count: int,
    seed: int,
) -> Iterator[tuple[PromptPair, str]]:
    """Pairs with their source, in the order in which they are taken."""
    if augmentation == "none":
        yield from ((_fill("{}", name, kind), "name") for name in names)
        return
    written = iter(grammar_pairs(names, kind, count=count, seed=seed) if augmentation == "grammar" else ())
    for pair in templates:
        yield pair, "templates"
        yield from ((paraphrase, "grammar") for paraphrase in islice(written, 1))
    yield from ((paraphrase, "grammar") for paraphrase in written)


def _fill(context: str, name: str, kind: ConceptKind) -> PromptPair:
    if kind == "manner":
        return PromptPair(tidy(context.format(as_manner(name))), tidy(context.format("")))
    return PromptPair(tidy(context.format(with_article(name))), tidy(context.format(NEUTRAL)))


def _own_pair(text: str, names: Sequence[str], kind: ConceptKind) -> PromptPair:
    """The user's prompt; its neutral form has the concept's words replaced, or is empty where it has none."""
    neutral, instead = text, "" if kind == "manner" else NEUTRAL
    for name in sorted(names, key=len, reverse=True):
        for spoken in (with_article(name), definite(name), as_manner(name) if kind == "manner" else name, name):
            neutral = _replaced(neutral, spoken, instead)
    return PromptPair(text, "" if neutral == text else tidy(neutral))


def _replaced(text: str, spoken: str, instead: str) -> str:
    """A plural ending goes with the name; what belonged to it belongs to what stands there instead."""
    return mentions(spoken).sub(lambda said: instead + (said["possessive"] or ""), text)


@cache
def _general_prompt_set() -> PromptSet:
    content = resources.files("t2vu_core.prompts").joinpath("general.json").read_text(encoding="utf-8")
    return PromptSet.parse(json.loads(content))
