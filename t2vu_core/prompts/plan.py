"""The prompts of one training: pairs with and without the concept, and prompts that must keep working.

A concept is a thing ("ghost") or a manner ("in noir style", "pencil sketch style"). Contexts are
sentences with a place for it; the neutral sentence of a pair has "something" in that place, or nothing
where a manner stood. The neutral sentence says what the erased model should do instead, so that only
the concept goes, not the rest of the sentence.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from t2vu_core.errors import UserError

ConceptKind = Literal["thing", "manner"]
NEUTRAL = "something"
ARTICLES = ("a ", "an ", "the ", "some ")
MANNER_STARTS = ("in ", "in the style of ", "as ", "like ", "by ", "with ", "drawn ", "painted ")


@dataclass(frozen=True)
class PromptPair:
    """A prompt that says the concept, and the same prompt without it."""

    prompt: str
    neutral: str


@dataclass(frozen=True)
class PromptPlan:
    """What a training uses; it is stored in the erasure file."""

    concept: str
    kind: ConceptKind
    pairs: tuple[PromptPair, ...]
    preserve: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """The prompts as JSON values."""
        pairs = [[pair.prompt, pair.neutral] for pair in self.pairs]
        return {"concept_kind": self.kind, "pairs": pairs, "preserve": list(self.preserve)}


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


def concept_kind(concept: str) -> ConceptKind:
    """A manner says how something is shown; everything else is a thing."""
    lowered = concept.lower()
    return "manner" if lowered.startswith(MANNER_STARTS) or lowered.endswith(" style") else "thing"


def plan_prompts(
    concept: str,
    prompts: PromptSet,
    *,
    num_pairs: int,
    num_preserve: int,
    seed: int,
    synonyms: Sequence[str] = (),
    concept_prompts: Sequence[str] = (),
    preserve_prompts: Sequence[str] = (),
) -> PromptPlan:
    """Choose the prompts of a training; the same seed chooses the same.

    The user's own prompts come first; contexts filled with the concept and its other names fill up.
    """
    concept = " ".join(concept.split())
    if not concept:
        raise UserError('The concept is empty: say in words what to erase, for example "ghost".')
    kind, rng = concept_kind(concept), random.Random(seed)
    names = tuple(dict.fromkeys([concept, *synonyms, *_known_names(concept, prompts)]))
    pairs = [_own_pair(text, names, kind) for text in concept_prompts]
    contexts = _without(prompts.manners if kind == "manner" else prompts.things, names)
    fillings = [(context, name) for context in contexts for name in names]
    rng.shuffle(fillings)
    # The name that the user gave is what a model knows best: it gets half of the contexts.
    own = [(context, concept) for context in rng.sample(contexts, len(contexts))]
    mixed = [filling for both in zip(own, fillings, strict=False) for filling in both] + fillings
    pairs += [_fill(context, name, kind) for context, name in dict.fromkeys(mixed)]
    kept = _without(prompts.preserve, names)
    rng.shuffle(kept)
    preserve = dict.fromkeys([*preserve_prompts, *kept])
    return PromptPlan(concept, kind, tuple(dict.fromkeys(pairs))[:num_pairs], tuple(preserve)[:num_preserve])


def _known_names(concept: str, prompts: PromptSet) -> tuple[str, ...]:
    return next((others for name, others in prompts.names.items() if _bare(name) == _bare(concept)), ())


def _bare(concept: str) -> str:
    lowered = concept.lower()
    for start in (*ARTICLES, "in "):
        lowered = lowered.removeprefix(start)
    return lowered.removesuffix(" style")


def _fill(context: str, name: str, kind: ConceptKind) -> PromptPair:
    if kind == "manner":
        spoken = name if name.lower().startswith(MANNER_STARTS) else f"in {name}"
        return PromptPair(_tidy(context.format(spoken)), _tidy(context.format("")))
    return PromptPair(_tidy(context.format(with_article(name))), _tidy(context.format(NEUTRAL)))


def with_article(name: str) -> str:
    """ "ghost" -> "a ghost", "octopus" -> "an octopus"; names with an article or a capital stay."""
    if name.lower().startswith(ARTICLES) or name[:1].isupper():
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _own_pair(text: str, names: Sequence[str], kind: ConceptKind) -> PromptPair:
    """The user's prompt; its neutral form has the concept's words replaced, or is empty where it has none."""
    lowered = text.lower()
    for name in sorted(names, key=len, reverse=True):
        for spoken in (with_article(name), f"the {name}", name):
            start = lowered.find(spoken.lower())
            if start >= 0:
                instead = "" if kind == "manner" else NEUTRAL
                return PromptPair(text, _tidy(text[:start] + instead + text[start + len(spoken) :]))
    return PromptPair(text, "")


def _without(texts: Sequence[str], names: Sequence[str]) -> list[str]:
    """The texts that say none of the names."""
    mentions = [f" {_bare(name)}" for name in names]
    return [text for text in texts if not any(mention in f" {text.lower()} " for mention in mentions)]


def _tidy(text: str) -> str:
    text = " ".join(text.split())
    for gap, mend in ((" ,", ","), (" .", "."), (",.", "."), (",,", ",")):
        text = text.replace(gap, mend)
    return text.strip(" ,")


@cache
def _general_prompt_set() -> PromptSet:
    content = resources.files("t2vu_core.prompts").joinpath("general.json").read_text(encoding="utf-8")
    return PromptSet.parse(json.loads(content))
