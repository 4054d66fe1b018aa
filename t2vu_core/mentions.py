"""Finding names in a text: the one place that decides whether a text says a concept.

A name is found as a word of its own, in any case, singular or plural, with any space, hyphen or underscore between its words,
and inside ComfyUI's weights and braces: "(ghost:1.2)", "{ghost|cat}", "1girl,ghost". It is never found inside another word:
"car" is not in "cartoon".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from t2vu_core.prompts import english

FIRST_CJK = 0x2E80
"""Letters from here on belong to languages that put no spaces between words."""
ARTICLES = english.ARTICLES
STYLE_STARTS = (
    "in the style of ", "in the manner of ", "in a ", "in an ", "in ", "as a ", "as an ", "as ", "like a ", "like an ",
    "like the ", "like ", "by ", "with a ", "with an ", "with ", "drawn in ", "drawn as a ", "drawn by ", "painted in ",
    "painted by ",
)  # fmt: skip
"""How a concept begins that says in which way something is shown."""
STYLE_ENDS = (" style", " styles")
_GAP = re.compile(r"[\s_\-\u2010\u2011]+")
_LETTER = r"(?-i:[^\W\d_\u2e80-\uffff])"
"""A letter of a language that puts spaces between words. Without regard to case such a range takes long to compile."""


def without_spaces(name: str) -> bool:
    """Whether the name is in a language that puts no spaces between words."""
    return any(ord(letter) >= FIRST_CJK for letter in name)


@lru_cache(maxsize=4096)
def bare(name: str) -> str:
    """The name's own words: without an article, without "in the style of" and "style"; in the case of the name."""
    words = " ".join(name.split())
    for start in (*STYLE_STARTS, *ARTICLES):
        if words.lower().startswith(start):
            words = words[len(start) :]
            break
    for end in STYLE_ENDS:
        if words.lower().endswith(end) and not _is_a_name(words):
            words = words[: -len(end)]
    return words or name


def _is_a_name(words: str) -> bool:
    """Whether it is somebody of the name of Styles."""
    first, *others = words.lower().split()
    return others == ["styles"] and first in english.word_lists()["first_names"]


@lru_cache(maxsize=4096)
def mentions(name: str) -> re.Pattern[str]:
    """A pattern that finds the name's own words (`bare`) in a text. The group `possessive` is the 's after them."""
    words = [word for word in _GAP.split(bare(name)) if word] or [bare(name)]
    possessive = r"(?P<possessive>['’]s(?!\w))?"
    if without_spaces(name):
        return re.compile(r"\s*".join(map(re.escape, words)) + possessive, re.IGNORECASE)
    noun = english.head(bare(name))
    spelled = [_any_form(word) if word.lower() == noun else re.escape(word) for word in words]
    # "spider man" and "spiderman" are the same name; "red hair" and "redhair" too.
    text = r"[\s_\-\u2010\u2011]*".join(spelled)
    return re.compile(f"{_edge(words[0][0], before=True)}{text}{possessive}{_edge(words[-1][-1], before=False)}", re.IGNORECASE)


def says(text: str, names: Iterable[str]) -> bool:
    """Whether the text mentions one of the names."""
    return any(mentions(name).search(text) for name in names)


def _any_form(word: str) -> str:
    """A pattern of the word's forms: those that the lexicon knows, else with and without an ending."""
    lowered = word.lower()
    forms = english.verb_forms(lowered) if english.is_gerund(lowered) else english.noun_forms(lowered)
    if not forms:
        return f"{re.escape(word)}(?:e?s)?"
    return f"(?:{'|'.join(map(re.escape, sorted({lowered, *forms}, key=len, reverse=True)))})"


def _edge(letter: str, *, before: bool) -> str:
    """Where a word may begin or end: not next to a letter, and not next to a digit if it has one there itself."""
    if not (letter.isalnum() or letter == "_"):
        return ""
    beyond = r"[^\W_]" if letter.isdigit() else _LETTER
    return f"(?<!{beyond})" if before else f"(?!{beyond})"
