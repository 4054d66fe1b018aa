"""Prompt sets: the contexts, preserve prompts and known names that a model brings with it, or the general ones."""

from __future__ import annotations

import dataclasses
import json
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from t2vu_core.errors import UserError, has_surrogate
from t2vu_core.input_files import read_bounded
from t2vu_core.mentions import bare, says
from t2vu_core.prompts.common_concepts import ConceptKind
from t2vu_core.prompts.kinds import is_style
from t2vu_core.prompts.lines import MAX_CHARACTERS, MAX_LINES

_SUBJECT = "{}"
_ACTOR = "{a person}"


@dataclass(frozen=True)
class PromptSet:
    """Contexts for things and styles, preserve prompts, and other names of known concepts."""

    things: tuple[str, ...]
    manners: tuple[str, ...]
    """Contexts for styles."""
    preserve: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Contexts for the other kinds."""
    own: bool = True
    """Whether the set belongs to a model, which knows no other words."""

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> PromptSet:
        """The prompt set that the content of a `prompts.json` describes. Raises ValueError for what is no text or too much."""
        names = {name: _texts(others) for name, others in content.get("names", {}).items()}
        things, manners = _texts(content["things"], slot=True), _texts(content["manners"], slot=True)
        return cls(things, manners, _texts(content["preserve"]), names)

    def contexts(self, kind: ConceptKind) -> tuple[str, ...]:
        """The contexts for a kind; those for things if the set has none for it."""
        if kind == "style":
            return self.manners
        if kind in self.others:
            return self.others[kind]
        return tuple(text.replace(_SUBJECT, _ACTOR) for text in self.things) if kind == "act" else self.things

    def without(self, names: Iterable[str]) -> PromptSet:
        """The set without the contexts that say one of the names."""
        every = tuple(names)
        return self.map(lambda texts: tuple(text for text in texts if not says(outside_slots(text), every)))

    def map(self, change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> PromptSet:
        """The set with every list of contexts changed."""
        others = {kind: change(texts) for kind, texts in self.others.items()}
        return dataclasses.replace(self, things=change(self.things), manners=change(self.manners), others=others)


def outside_slots(context: str) -> str:
    """The context's own words, without its slots, so that a name such as "{" is not found in every one."""
    for mark in "{}[]":
        context = context.replace(mark, "")
    return context


def _texts(values: Any, *, slot: bool = False) -> tuple[str, ...]:
    """The texts of a list; with `slot`, each has the place of the concept, `{}`."""
    if not isinstance(values, list) or len(values) > MAX_LINES:
        raise ValueError(f"a list of at most {MAX_LINES} texts was expected")
    for text in values:
        if not isinstance(text, str) or not text.strip() or len(text) > MAX_CHARACTERS or has_surrogate(text):
            raise ValueError(f"{reprlib.repr(text)} is no text of at most {MAX_CHARACTERS} characters")
        if slot and "{" not in text:
            raise ValueError(f"{reprlib.repr(text)} has no {_SUBJECT}, the place of the concept")
    return tuple(values)


def prompt_set_for(folder: Path | None) -> PromptSet:
    """The prompt set in a model's folder; the general one if it has none. Raises UserError if it cannot be read."""
    own = folder / "prompts.json" if folder else None
    if own is None or not own.exists():
        return _general_prompt_set()
    content = read_bounded(own, f"{own} is not a prompt set")
    try:
        return PromptSet.parse(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{own} is not a prompt set: {error}.") from error


def known_names(concept: str, kind: ConceptKind, prompts: PromptSet) -> tuple[str, ...]:
    """The names that a prompt set knows for a concept.

    A longer name that contains the concept's words counts as one of its names: erasing "sketch style" also erases
    "pencil sketch style".
    """
    own, known = bare(concept).lower(), list[str]()
    for name, others in prompts.names.items():
        other = bare(name).lower()
        if is_style(name) == (kind == "style") and set(own.split()) <= set(other.split()):
            known += others if other == own else (name, *others)
    return tuple(known)


@cache
def _general_prompt_set() -> PromptSet:
    contexts, preserve = _data("contexts"), _data("preserve")
    by_kind = {kind: tuple(text for texts in registers.values() for text in texts) for kind, registers in contexts.items()}
    things, styles = by_kind.pop("thing"), by_kind.pop("style")
    every = tuple(text for texts in preserve.values() for text in texts)
    return PromptSet(things, styles, every, {}, others=by_kind, own=False)


def _data(name: str) -> Mapping[str, Any]:
    content = resources.files("t2vu_core.prompts").joinpath(f"data/{name}.json").read_text(encoding="utf-8")
    data: Mapping[str, Any] = json.loads(content)
    return data
