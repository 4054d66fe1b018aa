"""Whether a prompt without the concept can still stand as a caption, and what is said where it cannot."""

from __future__ import annotations

import re
from itertools import pairwise

from t2vu_core.prompts import english
from t2vu_core.prompts.concept import Concept
from t2vu_core.prompts.wording import A_PERSON, SUBJECT_KINDS, as_style, attached

A_PICTURE = "a picture"
_END = "."
_TOKENS = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|[.,;:!?]")
_ARTICLES = ("a", "an", "the")
_SUBJECTS = ("he", "she", "they", "we", "i")
_IS = ("is", "are", "was", "were", "be", "been", "has", "have", "had")
_PREPOSITIONS = (
    "about", "above", "across", "against", "along", "among", "at", "between", "by", "for", "from", "in", "inside", "into",
    "near", "of", "on", "onto", "over", "through", "to", "toward", "towards", "under", "with", "without",
)  # fmt: skip
_STOPS = (_END, ",", ";", ":", "!", "?", "and", "or", "but", "while", "as", "when")


def is_dangling(changed: str, text: str) -> bool:
    """Whether words of the changed text have lost what they belong to in `text`: "He in silence", "His shirt is and ..."."""
    words, before = _words(changed), _words(text)
    if len(words) < 2 or all(word in _STOPS for word in words):
        return True
    first = words[0]
    headless = first in (*_IS, "and", "or", "of") or (
        english.is_present(first, several=False) and "NOUN" not in english.parts_of_speech(first)
    )
    known = set(pairwise(before))
    return (headless and first != before[0]) or any(pair not in known and _breaks(*pair) for pair in pairwise(words))


def _words(text: str) -> list[str]:
    return [*(word.lower() for word in _TOKENS.findall(text.rstrip(".!? "))), _END]


def _breaks(word: str, following: str) -> bool:
    """Whether no text has the two after each other."""
    if word in _ARTICLES:
        return following in (*_STOPS, *_IS, *_PREPOSITIONS, *_ARTICLES)
    if word in _SUBJECTS:
        return following in (*_STOPS, *_PREPOSITIONS)
    if word in (*_IS, *_PREPOSITIONS, "and", "or"):
        return following in _STOPS
    return False


def instead_of_all(concept: Concept) -> str:
    """What stands for a whole prompt of which nothing is left without the concept."""
    kind, replacement = concept.kind, concept.replacement
    if kind in SUBJECT_KINDS:
        return replacement
    if kind == "style":
        return f"{A_PICTURE} {as_style(replacement)}" if replacement else A_PICTURE
    return attached((concept.of if kind == "attribute" else None) or A_PERSON, replacement, kind)
