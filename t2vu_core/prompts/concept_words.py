"""The words of a concept as a user types them, without weights, quotes and marks around them; refused if they name nothing."""

from __future__ import annotations

import re
import unicodedata

from t2vu_core.errors import UserError
from t2vu_core.prompts import english

_WEIGHTED = re.compile(r"[(\[]+(?P<words>[^()\[\]]*?):\s*\d*\.?\d+\s*[)\]]+")
"""ComfyUI's weights: "(ghost:1.2)"."""
_WEIGHT = re.compile(r"(?<=[^\W\d])::?\d*\.?\d+$")
_AROUND = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'", "`": "`",
           "\u201c": "\u201d", "\u201e": "\u201c", "\u2018": "\u2019", "\u00ab": "\u00bb"}  # fmt: skip
"""Marks that stand around a whole text, by the opening one."""
_AT_THE_END = ".,;:!?"
_ABBREVIATION = re.compile(r"(?:\.[^\s.]+|\b(?:jr|sr|dr|mr|mrs|st))\.$", re.IGNORECASE)
"""A full stop that belongs to the last word: "E.T.", "Robert Downey Jr."."""
_ALSO_CONTENT = frozenset(("alive", "can", "close", "dead", "down", "full", "might", "past", "round", "will"))
"""Function words that can also be a concept."""
_MANNER = frozenset(("style", "styles", "manner"))


def concept_words(text: str) -> str:
    """The concept's own words: "(ghost:1.2)", "'ghost'" and "Ghost," say "ghost".

    Raises UserError if they are alternatives of several concepts, or name nothing.
    """
    if "|" in text:
        raise UserError(f"{text!r} lists alternatives: give each of them as a concept of its own.")
    words = _without_marks(text)
    if not _says_something(words):
        raise UserError(f'The concept {text!r} names nothing: say in words what to erase, for example "ghost".')
    return words


def _without_marks(text: str) -> str:
    words, before = _WEIGHT.sub("", _WEIGHTED.sub(lambda found: found["words"], text)), None
    while words != before:
        before, words = words, " ".join(words.split()).lstrip(",;:")
        if words[-1:] and words[-1] in _AT_THE_END and not _ABBREVIATION.search(words):
            words = words[:-1]
        words = _without_pair(words)
    return words


def _without_pair(words: str) -> str:
    """The words without the two marks around all of them; "(a) or (b)" and "dogs'" are not changed."""
    opening, inside, closing = words[:1], words[1:-1], words[-1:]
    if len(words) < 2 or _AROUND.get(opening) != closing or 0 <= inside.find(closing) <= inside.rfind(opening):
        return words
    return inside


def _says_something(words: str) -> bool:
    lowered = words.lower().split()
    if all(word in _MANNER or (english.is_function_word(word) and word not in _ALSO_CONTENT) for word in lowered):
        return False
    # An emoji is a symbol too; ASCII's symbols are marks of a prompt.
    kinds = ((letter, unicodedata.category(letter)[0]) for letter in words)
    return any(kind in "LN" or (kind == "S" and not letter.isascii()) for letter, kind in kinds)
