"""The shipped table of common concepts: of which kind they are, how they are said, and what lies near them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from t2vu_core.mentions import bare, says
from t2vu_core.prompts import english
from t2vu_core.prompts.spelling import american

ConceptKind = Literal["thing", "character", "person", "style", "attribute", "act"]
MOST_NEIGHBOURS = 12
_FEWEST_LETTERS = 6
"""Shorter names are only found as they are written: "et" is no "E.T."."""
_SLOT_WITH_ARTICLE = re.compile(r"\ban? \{\}")


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
    also: tuple[str, ...] = ()
    """Other names of it: "Trump" of "Donald Trump", "T-rex" of a tyrannosaurus."""
    same: tuple[str, ...] = ()
    """Members of a group that stands apart: they mean the same."""
    sexual: bool = False
    """Nudity and sex: prompts of these never have children."""


def common_concept(name: str, kind: ConceptKind | None = None) -> CommonConcept | None:
    """The table's concept of that name, in the singular or plural and with or without an article; of `kind` if it is given.

    A proper name is found with other spaces, hyphens and full stops too: "spiderman", "H.R. Giger". Of several concepts of one
    name the one that is written as `name` is comes first: "Robin" is a character and "robin" a bird.
    """
    table = _table()
    for key in name_keys(name):
        known = [(found, group) for found, group in table.get(key, ()) if kind in (None, group.kind)]
        if known:
            as_written = [(found, group) for found, group in known if not name.islower() and found == name]
            found, group = (as_written or known)[0]
            return group.concept(found)
    return None


def with_same_noun(name: str, kind: ConceptKind) -> CommonConcept | None:
    """The first concept of the kind that is about the same noun, after an adjective: "red hair" for "purple hair"."""
    noun = english.head(name)
    if len(name.split()) < 2:
        return None
    for entries in _table().values():
        for found, group in entries:
            if group.kind == kind and len(found.split()) > 1 and english.head(found) == noun:
                return group.concept(found)
    return None


def number_of_concepts() -> int:
    """How many names the table has."""
    return len(_table())


@cache
def _scenes() -> Mapping[str, Sequence[str]]:
    text = resources.files("t2vu_core.prompts").joinpath("data/shown_by.json").read_text(encoding="utf-8")
    scenes: Mapping[str, Sequence[str]] = json.loads(text)
    return scenes


def shown_by(name: str) -> tuple[str, ...]:
    """Words of scenes that show the concept without its name: a campfire shows fire, and waves show water."""
    return next((tuple(_scenes()[key]) for key in name_keys(name) if key in _scenes()), ())


@cache
def sexual_names() -> tuple[str, ...]:
    """Everything that the table calls nudity or sex."""
    groups = {id(group): group for found in _table().values() for _, group in found if group.content.get("sexual")}
    concepts = [group.concept(name) for group in groups.values() for name in group.members]
    return tuple(dict.fromkeys(name for each in concepts for name in (each.name, *each.said, *each.also)))


def members_of_class(name: str) -> tuple[str, ...]:
    """Things of the table that are this: breeds of "dog", birds of "bird"."""
    return tuple(dict.fromkeys(member for key in name_keys(name) for member in _classes().get(key, ())))


@cache
def _classes() -> Mapping[str, Sequence[str]]:
    """Things and other names of them by the name of their class."""
    classes: dict[str, list[str]] = {}
    for group in {id(group): group for found in _table().values() for _, group in found}.values():
        if group.kind == "thing" and "class" in group.content:
            also = [word for names in group.content.get("also", {}).values() for word in names]
            classes.setdefault(plain_name(group.content["class"]), []).extend([*group.members, *also])
    return classes


@cache
def name_keys(name: str) -> tuple[str, ...]:
    """The name as the table may have it: as it is, without its article, with its head noun in the singular."""
    own = plain_name(bare(name))
    noun = english.head(own)
    singular = sorted(english.noun_forms(noun), key=len)
    # The lexicon lacks some nouns, and so their plurals.
    forms = (own, *(own.replace(noun, form) for form in singular), own.removesuffix("s")) if noun else (own,)
    written_otherwise = _proper_keys().get(_letters(own)) if _is_long_enough(_letters(own)) else None
    return (*forms, written_otherwise) if written_otherwise else forms


def plain_name(name: str) -> str:
    """Without article, accents and hyphens, in lower case and American spelling: "Beyoncé" is "beyonce", "Coca-Cola" is "coca
    cola", and "grey hair" is "gray hair".
    """
    letters = unicodedata.normalize("NFKD", re.sub(r"[-_]", " ", english.without_article(name).lower().replace("’", "'")))
    return american(" ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).split()))


def _is_long_enough(letters: str) -> bool:
    """Whether a name of these letters is hardly another word: "spiderman", "r2d2"."""
    return len(letters) >= _FEWEST_LETTERS or (len(letters) > 3 and any(map(str.isdigit, letters)) and not letters.isdigit())


def _letters(plain: str) -> str:
    """A plain name without what stands between its letters: "h.r. giger" is "hrgiger"."""
    return "".join(filter(str.isalnum, plain))


@dataclass(frozen=True)
class _Group:
    """Concepts that lie near each other; not those that stand `apart`: "pistol" is a gun, and "naked" means nudity."""

    kind: ConceptKind
    content: Mapping[str, Any]

    @property
    def members(self) -> list[str]:
        return list(self.content["members"])

    def said(self, name: str) -> tuple[str, ...]:
        """Other ways to say a member."""
        members = self.content["members"]
        detail = members[name] if isinstance(members, dict) else None
        ways = detail if isinstance(detail, list) else self.content.get("say", ())
        return tuple(_with_fitting_article(way, name) for way in ways)

    def concept(self, name: str) -> CommonConcept:
        """A member; its neighbours are two of the group's, the other members, those listed after it first, and the rest."""
        content, members = self.content, self.content["members"]
        detail = members[name] if isinstance(members, dict) else None
        return CommonConcept(
            name, self.kind, self._neighbours(name),
            group=detail if isinstance(detail, str) else content.get("class"),
            said=self.said(name),
            of=content.get("of"), instead=content.get("instead"), also=tuple(content.get("also", {}).get(name, ())),
            same=tuple(members) if content.get("apart", False) else (), sexual=content.get("sexual", False),
        )  # fmt: skip

    def _neighbours(self, name: str) -> tuple[str, ...]:
        near, names = list(self.content["near"]), self.members
        apart = self.kind == "act" or self.content.get("apart", False)
        if not apart:
            index = names.index(name)
            near = [*near[:2], *names[index + 1 :], *names[:index], *near[2:]]
        others: list[str] = []
        for other in near:
            # "tattoo" and "tattoos" are one neighbour.
            again = any(_same_words(other, taken) for taken in others)
            if not (again or says(other, [name]) or says(name, [other])):
                others.append(other)
        return tuple(others[:MOST_NEIGHBOURS])


def _same_words(name: str, other: str) -> bool:
    return says(name, [other]) and says(other, [name])


def _with_fitting_article(way: str, name: str) -> str:
    """ "as a {} painting" of "oil" is "as an {} painting"."""
    found = _SLOT_WITH_ARTICLE.search(way)
    if found is None:
        return way
    article = english.indefinite(name).partition(" ")[0]
    return f"{way[: found.start()]}{article} {way[found.end() - 2 :]}"


@cache
def _proper_keys() -> Mapping[str, str]:
    """The table's keys of proper names by their letters alone."""
    keys: dict[str, str] = {}
    for key, entries in _table().items():
        if any(not name.islower() for name, _ in entries):
            keys.setdefault(_letters(key), key)
    return keys


@cache
def _table() -> Mapping[str, Sequence[tuple[str, _Group]]]:
    """Concepts and their groups by name in lower case; a name can be of several kinds, the likeliest first."""
    text = resources.files("t2vu_core.prompts").joinpath("data/neighbours.json").read_text(encoding="utf-8")
    table: dict[str, list[tuple[str, _Group]]] = {}
    for kind, groups in json.loads(text).items():
        for group in (_Group(kind, content) for content in groups):
            also = group.content.get("also", {})
            called = [(name, name) for name in group.members]
            # A member of the group comes before another member's other name.
            called += [(other, name) for name in group.members for other in also.get(name, ())]
            # "covered in blood" is gore.
            called += [(other, name) for name in group.members if kind == "act" for other in group.said(name)]
            for word, name in called:
                table.setdefault(plain_name(word), []).append((name, group))
    return table
