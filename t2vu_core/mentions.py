"""Finding names in a text: the one place that decides whether a text says a concept.

A name is found as a word of its own, in any case, singular or plural, with any space, hyphen or underscore between its words,
in British and American spelling, and inside ComfyUI's weights and braces: "(ghost:1.2)", "(red:1.2) hair", "{ghost|cat}",
"1girl,ghost". The verb of an act is found in all its forms: "lighting a cigarette" is in "she lights her cigarette". A name is
never found inside another word: "car" is not in "cartoon".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

from t2vu_core.prompts import english
from t2vu_core.prompts.spelling import has_accents, letters, spellings

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
_SPACE = r"(?-i:[\s_\-\u2010\u2011])"
_CLOSED = r"(?:\s*:\s*\d*\.?\d+\s*\)+)?"
"""The end of a weight within a name: "(red:1.2) hair"."""
_OPENED = r"(?:\(+(?=(?-i:[^()]{1,60}:\s*\d*\.?\d+\s*\)|[\w'’-]+\))))?"
"""The beginning of one: "golden (retriever:1.2)"."""
_BETWEEN = f"{_CLOSED}{_SPACE}*{_OPENED}"
_OWNERS = ("a", "an", "the", "some", "his", "her", "their", "its", "my", "your", "our", "one", "another")
_DOERS = (
    "they", "we", "you", "who", "people", "men", "women", "kids", "children", "boys", "girls", "guys", "friends", "teenagers",
    "students", "workers", "soldiers", "want to", "wants to", "start to", "starts to", "begin to", "begins to",
)  # fmt: skip
_AFTER_DOERS = "(?:" + "|".join(rf"(?<=(?<!\w){each} )" for each in _DOERS) + ")"
"""Words after which "smoke" is what somebody does and not what rises from a chimney."""
_SOMEONE = ("someone", "somebody")
_ENDS = r"(?=\s*(?:(?-i:[.,;:!?)])|$)|\s+(?:in|on|at|with|and|as|while|until|near|behind|outside)\b)"
"""After "her" as somebody, not as the owner of what follows."""
_IN_BRACKETS = re.compile(r"\(+(?P<words>[^()]*?)(?::\s*\d*\.?\d+)?\)+")
"""ComfyUI's weights: "(ghost:1.2)", "((ghost))"."""
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
    # "spider man" and "spiderman" are the same name; "red hair" and "redhair" too.
    text = _BETWEEN.join(_spelled(bare(name), words))
    before, after = _edge(words[0][0], before=True), _edge(words[-1][-1], before=False)
    return re.compile(f"{before}{_no_other_kind(bare(name))}{text}{possessive}{after}", re.IGNORECASE)


def _no_other_kind(name: str) -> str:
    """Before "dog": it is not that of "a hot dog"."""
    others: Sequence[str] = english.word_lists()["other_kinds"].get(english.singular(name.lower()), ())
    return "".join(rf"(?<!\b{other}[\s-])" for other in others)


def says(text: str, names: Iterable[str]) -> bool:
    """Whether the text mentions one of the names."""
    return any(mentions(name).search(text) for name in names)


def without_weights(text: str, names: Iterable[str]) -> str:
    """ "A (ghost:1.2) runs" is "A ghost runs": what will no longer be named needs no weight."""
    said = [found.span() for name in names for found in mentions(name).finditer(text)]

    def plain(bracket: re.Match[str]) -> str:
        holds = any(start < bracket.end() and bracket.start() < end for start, end in said)
        return bracket["words"] if holds else bracket.group()

    return _IN_BRACKETS.sub(plain, text)


def _spelled(name: str, words: Sequence[str]) -> list[str]:
    """Patterns of the name's words: its noun in both numbers, and the verb of an act in all its forms."""
    noun, act = english.head(name), len(words) > 1 and _is_verb(words[0])
    spelled, owner = list[str](), ""
    for index, word in enumerate(words):
        lowered = word.lower()
        if act and lowered in _OWNERS and 0 < index < len(words) - 1:
            # "smoking a cigarette" is also said as "smoking his cigarette" and "smoking cigarettes".
            owner = rf"(?:(?:{'|'.join(_OWNERS)}){_SPACE}+)?"
            continue
        if act and index == 0:
            pattern = _one_of(english.verb_forms(lowered) | {*english.verb_lemmas(lowered)}, lowered)
        elif act and lowered in _SOMEONE:
            pattern = _somebody()
        else:
            pattern = _any_form(word) if lowered == noun else _as_written(word)
        spelled.append(f"{owner}{pattern}")
        owner = ""
    return spelled


def _is_verb(word: str) -> bool:
    """Whether the word is what somebody does; a king and a ring are base forms themselves."""
    return word.lower().endswith("ing") and bool({*english.verb_lemmas(word)} - {word.lower()})


def _any_form(word: str) -> str:
    """A pattern of the word's forms: those that the lexicon knows, else with and without an ending."""
    lowered = word.lower()
    acts = english.is_gerund(lowered) or (_is_verb(lowered) and lowered not in english.word_lists()["thing_gerunds"])
    forms = english.verb_forms(lowered) if acts else english.noun_forms(lowered)
    if not forms:
        return f"{_as_written(word)}(?:e?s)?"
    alone = {*english.verb_lemmas(lowered)} - forms if acts else ()
    return f"(?:{_one_of(forms, lowered)}|{_AFTER_DOERS}{_one_of(alone, min(alone))})" if alone else _one_of(forms, lowered)


@cache
def people() -> str:
    """A pattern of words for people: "man", "women", "soldiers"."""
    return _one_of({form for word in english.word_lists()["somebody"] for form in english.noun_forms(word)}, "people")


@cache
def _somebody() -> str:
    """A pattern of anybody to whom something is done."""
    owned = rf"(?:{'|'.join(_OWNERS)}){_SPACE}+(?:[a-z]+{_SPACE}+)?{people()}(?!\w)"
    return rf"(?:some(?:one|body)|any(?:one|body)|him|them|her{_ENDS}|each{_SPACE}+other|one{_SPACE}+another|{owned})"


def _one_of(forms: Iterable[str], word: str) -> str:
    """A pattern of these forms of a word and the word, the longest first."""
    every = {spelling for form in (word, *forms) for spelling in spellings(form)}
    return f"(?:{'|'.join(map(re.escape, sorted(every, key=lambda form: (-len(form), form))))})"


def _as_written(word: str) -> str:
    """A pattern of the word in all its spellings; names and foreign words also with other accents."""
    accents = has_accents(word) or english.is_proper(word) or not english.knows_word(word)
    every = [letters(spelling, accents=accents) for spelling in spellings(word.lower())]
    return every[0] if len(every) == 1 else f"(?:{'|'.join(every)})"


def _edge(letter: str, *, before: bool) -> str:
    """Where a word may begin or end: not next to a letter, and not next to a digit if it has one there itself."""
    if not (letter.isalnum() or letter == "_"):
        return ""
    beyond = r"[^\W_]" if letter.isdigit() else _LETTER
    return f"(?<!{beyond})" if before else f"(?!{beyond})"
