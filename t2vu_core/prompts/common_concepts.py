"""The shipped table of common concepts: of which kind they are, how they are said, and what lies near them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from t2vu_core.mentions import bare, says
from t2vu_core.prompts import english

ConceptKind = Literal["thing", "character", "person", "style", "attribute", "act"]
MOST_NEIGHBOURS = 12


@dataclass(frozen=True)
class CommonConcept:
    """A concept of the table."""

    name: str
    """As it is usually written: "Van Gogh", "golden retriever"."""
    kind: ConceptKind
    neighbours: tuple[str, ...]
    group: str | None = None
    """What it is one of: "a dog" for a breed, "a mouse" for Mickey Mouse."""
    said: tuple[str, ...] = ()
    """Other ways to say it: "in {} style" of a style, "naked" of nudity."""
    of: str | None = None
    """What an attribute usually belongs to."""
    instead: str | None = None
    """What an act becomes, as words for a person: "calm", "fully dressed"."""


def common_concept(name: str, kind: ConceptKind | None = None) -> CommonConcept | None:
    """The table's concept of that name, in the singular or plural and with or without an article; of `kind` if it is given."""
    for key in _keys(name):
        for found in _table().get(key, ()):
            if kind in (None, found.kind):
                return found
    return None


def number_of_concepts() -> int:
    """How many names the table has."""
    return len(_table())


def _keys(name: str) -> tuple[str, ...]:
    """The name as the table may have it: as it is, without its article, with its head noun in the singular."""
    own = " ".join(bare(name).lower().split())
    noun = english.head(own)
    singular = sorted(english.noun_forms(noun), key=len)
    return (own, *(own.replace(noun, form) for form in singular)) if noun else (own,)


@cache
def _table() -> Mapping[str, Sequence[CommonConcept]]:
    """Concepts by name in lower case; a name can be of several kinds, the likeliest first."""
    text = resources.files("t2vu_core.prompts").joinpath("data/neighbours.json").read_text(encoding="utf-8")
    table: dict[str, list[CommonConcept]] = {}
    for kind, groups in json.loads(text).items():
        for group in groups:
            for concept in _concepts(kind, group):
                table.setdefault(concept.name.lower(), []).append(concept)
    return table


def _concepts(kind: ConceptKind, group: Mapping[str, Any]) -> list[CommonConcept]:
    """The members of a group; each has the others as neighbours, those listed after it first.

    Not if they stand `apart`: "pistol" is a gun, and "naked" means nudity.
    """
    members, names = group["members"], list(group["members"])
    own: Mapping[str, Any] = members if isinstance(members, dict) else {}
    found = []
    for index, name in enumerate(names):
        apart_from_others = kind == "act" or group.get("apart", False)
        others = [] if apart_from_others else [*names[index + 1 :], *names[:index]]
        near = [*group["near"][:2], *others, *group["near"][2:]] if others else group["near"]
        apart = [other for other in near if not says(other, [name]) and not says(name, [other])]
        detail = own.get(name)
        found.append(
            CommonConcept(
                name, kind, tuple(apart[:MOST_NEIGHBOURS]),
                group=detail if isinstance(detail, str) else group.get("class"),
                said=tuple(detail) if isinstance(detail, list) else tuple(group.get("say", ())),
                of=group.get("of"), instead=group.get("instead"),
            )
        )  # fmt: skip
    return found
