"""Mentions that do not show the concept: "no ghosts", and "Michelle Obama" where Barack Obama goes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from t2vu_core.mentions import mentions
from t2vu_core.prompts import english
from t2vu_core.prompts.common_concepts import common_concept
from t2vu_core.prompts.concept import Concept

_NEAR = 80
_DENIED = re.compile(
    r"(?:,?\s*\b(?:and|with|there\s+(?:is|are|was|were))\s+)?\b(?:no|not|never|without)[\s-]+"
    r"(?:(?:an?|any|the|other|more|single)\s+)*(?:(?P<word>[^\W\d_]+)\s+)?$",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"\s*,?\s*(?:(?:just|only|but)\s+)?", re.IGNORECASE)
"""After what a prompt begins by denying: "No ghosts, just an empty house"."""
_NAME_BEFORE = re.compile(r"(?P<name>[^\W\d_]+)\s+(?:(?-i:[A-Z])\.\s*)?$")
_JUNIOR = re.compile(r"\s+(?:Jr|Junior)\b", re.IGNORECASE)
_JOINED_NAME = re.compile(r"[-\u2010\u2011](?-i:[A-Z])")
"""A snake-like "-Man" makes another name: "Spider-Man" is no spider."""


def teaches(text: str, concepts: Sequence[Concept]) -> bool:
    """Whether a prompt that says a concept shows it: not if it only denies it, or names somebody else of the same last name."""
    found = [
        _denial(text, each) is not None or is_another(text, each, concept, name)
        for concept in concepts
        for name in concept.names
        for each in mentions(name).finditer(text)
    ]
    return not (found and all(found))


def without_denials(text: str, name: str) -> str:
    """ "No ghosts, just an empty house" is "an empty house", and "a castle without a ghost" "a castle"."""
    for found in reversed(list(mentions(name).finditer(text))):
        denial = _denial(text, found)
        if denial is None or found["possessive"]:
            continue
        end = found.end()
        if not text[: denial.start()].strip() and (following := _GOES_ON.match(text, end)):
            end = following.end()
        text = f"{text[: denial.start()]}{text[end:]}"
    return text


def is_another(text: str, found: re.Match[str], concept: Concept, name: str) -> bool:
    """Whether a mention is a part of another's full name: "Michelle Obama", "Donald Trump Jr."."""
    if _JOINED_NAME.match(text, found.end()):
        return found.group().islower() or name not in concept.proper
    if name not in concept.proper:
        return False
    if _JUNIOR.match(text, found.end()):
        return True
    before = _NAME_BEFORE.search(text, max(0, found.start() - _NEAR), found.start())
    if before is None or not before["name"][0].isupper() or len(name.split()) > 1:
        return False
    word, own = before["name"].lower(), {part.lower() for each in concept.names for part in each.split()}
    if word in own or english.is_function_word(word):
        return False
    unknown = concept.kind == "person" and not english.knows_word(word) and common_concept(word) is None
    return word in english.word_lists()["first_names"] or (unknown and word not in english.word_lists()["titles"])


def _denial(text: str, found: re.Match[str]) -> re.Match[str] | None:
    denial = _DENIED.search(text, max(0, found.start() - _NEAR), found.start())
    if denial is None or (denial["word"] and (english.is_function_word(denial["word"]) or denial["word"].lower() == "only")):
        return None
    return denial
