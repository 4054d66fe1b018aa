"""Other spellings of a word: British and American, with and without accents."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

SHORTEST_PART = 4
"""Shorter words, such as "axe", are not looked for inside other words."""
_ENDING_AFTER = 4
"""Letters before "-ise": "stylise" is also "stylize", "rise" is not "rize"."""
_ACCENTED = range(0xC0, 0x250)
"""Latin letters with accents."""


@cache
def spellings(word: str) -> tuple[str, ...]:
    """The word in lower case as it is written, and as the other country writes it: "watercolour", "watercolor"."""
    return tuple(dict.fromkeys([word, *(_exchanged(word, pairs) for pairs in (_pairs(), _reversed_pairs()))]))


def american(text: str) -> str:
    """A text in lower case with all its words in American spelling."""
    return re.sub(r"[a-z]+", lambda found: _exchanged(found.group(), _pairs()), text)


def letters(word: str, *, accents: bool) -> str:
    """A pattern of the word; with `accents` each of its letters may have another accent, or none."""
    return "".join(_letter(letter) if accents else re.escape(letter) for letter in word)


def has_accents(word: str) -> bool:
    """Whether one of the word's letters has an accent: "Beyoncé"."""
    return any(_plain(letter) != letter for letter in word)


def _exchanged(word: str, pairs: Mapping[str, str]) -> str:
    for part, other in pairs.items():
        if word == part or (len(part) >= SHORTEST_PART and part in word):
            return word.replace(part, other, 1)
    for ends in _lists()["endings"]:
        end, other = ends if pairs is _pairs() else reversed(ends)
        if word.endswith(end) and len(word) >= len(end) + _ENDING_AFTER:
            return word.removesuffix(end) + other
    return word


@cache
def _pairs() -> Mapping[str, str]:
    """American parts of words by British ones, the longest first."""
    return dict(sorted((_couple(each) for each in _lists()["british_american"]), key=lambda pair: -len(pair[0])))


@cache
def _reversed_pairs() -> Mapping[str, str]:
    return dict(sorted(((other, british) for british, other in _pairs().items()), key=lambda pair: -len(pair[0])))


def _couple(words: Sequence[str]) -> tuple[str, str]:
    british, other = words
    return british, other


@cache
def _lists() -> Mapping[str, Sequence[Sequence[str]]]:
    path = resources.files("t2vu_core.prompts").joinpath("data/spellings.json")
    lists: Mapping[str, Sequence[Sequence[str]]] = json.loads(path.read_text(encoding="utf-8"))
    return lists


def _letter(letter: str) -> str:
    """The letter in both cases with every accent; a set without regard to case would take long to compile."""
    plain = _plain(letter).lower()
    family = plain + _accented().get(plain, "")
    return f"(?-i:[{family}{family.upper()}])" if len(family) > 1 else re.escape(letter)


def _plain(letter: str) -> str:
    return unicodedata.normalize("NFKD", letter)[0]


@cache
def _accented() -> Mapping[str, str]:
    """The accented forms of each small letter that has some."""
    families: dict[str, str] = {}
    for letter in map(chr, _ACCENTED):
        plain = _plain(letter)
        if letter.islower() and plain != letter and plain.isascii() and plain.isalpha() and len(letter.upper()) == 1:
            families[plain] = families.get(plain, "") + letter
    return families
