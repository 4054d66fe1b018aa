"""What means the same as a concept, what is a kind of it, and what it is a kind of itself: "automobile", "taxi", "vehicle"."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

from t2vu_core.mentions import says
from t2vu_core.prompts import english
from t2vu_core.prompts.common_concepts import common_concept, members_of_class, name_keys, plain_name

_WITH_OBJECT = ("holding", "carrying", "wearing", "eating", "drinking", "throwing", "showing", "selling", "buying")
"""What can be done with whatever lies near its object; one does not ride what lies near a horse."""
_MOST_OBJECTS = 8


@cache
def same_as(words: str) -> tuple[str, ...]:
    """Common words that mean the same as these, and these; empty if none are known."""
    return next((_synonyms()[key] for key in name_keys(words) if key in _synonyms()), ())


@cache
def kinds_of(words: str) -> tuple[str, ...]:
    """Kinds of what the words name, and their kinds: whatever is drawn for one of these is drawn for the words too."""
    found, left = dict[str, None](), [words, *same_as(words)]
    while left:
        name = left.pop(0)
        direct = [each for key in name_keys(name) for each in _kinds().get(key, ())] + list(members_of_class(name))
        new = [each for each in dict.fromkeys(direct) if each not in found]
        found.update(dict.fromkeys(new))
        left += [each for kind in new for each in (kind, *same_as(kind))]
    return tuple(found)


def is_class_of(words: str, concept: str) -> bool:
    """Whether the words name what the concept is one of, and a model may draw the concept for them: "a vehicle" for a car.

    A concept of the table must have kinds itself: for "an animal" a model draws a dog, but seldom a walrus.
    """
    own = {plain_name(key) for key in (concept, *same_as(concept))}
    if any(own & {plain_name(kind) for kind in _kinds().get(key, ())} for key in name_keys(words)):
        return True
    listed = common_concept(concept, "thing")
    group = listed.group if listed else None
    return bool(group and kinds_of(concept) and {plain_name(group)} & {*name_keys(words)})


def object_neighbours(act: str) -> tuple[str, ...]:
    """The same done with what lies near its object: "holding a camera" for "holding a gun"; empty for other acts."""
    doing, _, words = act.partition(" ")
    listed = common_concept(words, "thing") or common_concept(words, "attribute") if doing.lower() in _WITH_OBJECT else None
    same = (words, *same_as(words), *kinds_of(words))
    near = [name for name in listed.neighbours if not says(name, same)] if listed else []
    return tuple(f"{doing} {english.with_article(name)}" for name in near[:_MOST_OBJECTS])


@cache
def _synonyms() -> Mapping[str, tuple[str, ...]]:
    groups: Sequence[Sequence[str]] = json.loads(_data("synonyms"))
    return {plain_name(word): tuple(group) for group in groups for word in group}


@cache
def _kinds() -> Mapping[str, Sequence[str]]:
    kinds: Mapping[str, Sequence[str]] = json.loads(_data("kinds"))
    return {plain_name(name): words for name, words in kinds.items()}


def _data(name: str) -> str:
    return resources.files("t2vu_core.prompts").joinpath(f"data/{name}.json").read_text(encoding="utf-8")
