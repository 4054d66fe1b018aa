"""A prompt with the concept and the same prompt without it, and the words that distinguish the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from t2vu_core.mentions import mentions, without_spaces

ConceptKind = Literal["thing", "manner"]
NEUTRAL = "something"
NEUTRAL_AGAIN = "it"
"""Replaces a thing that was called "something" before."""
ARTICLES = ("a ", "an ", "the ", "some ")
MANNER_STARTS = ("in ", "in the style of ", "as ", "like ", "by ", "with ", "drawn ", "painted ")


@dataclass(frozen=True)
class PromptPair:
    """A prompt that names the concept, and the same prompt without it."""

    prompt: str
    neutral: str


def concept_kind(concept: str) -> ConceptKind:
    """A manner is a way in which something is shown; everything else is a thing."""
    lowered = concept.lower()
    return "manner" if lowered.startswith(MANNER_STARTS) or lowered.endswith(" style") else "thing"


def with_article(name: str) -> str:
    """ "ghost" -> "a ghost", "octopus" -> "an octopus"; names with an article or a capital are not changed."""
    if name.lower().startswith(ARTICLES) or name[:1].isupper():
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def definite(name: str) -> str:
    """ "a ghost" or "ghost" -> "the ghost"; names with a capital are not changed."""
    for article in ARTICLES:
        if name.lower().startswith(article):
            name = name[len(article) :]
            break
    return name if name[:1].isupper() else f"the {name}"


def as_manner(name: str) -> str:
    """ "pixel art style" -> "in pixel art style"; a name that is a manner already is not changed."""
    return name if name.lower().startswith(MANNER_STARTS) else f"in {name}"


def bare(concept: str) -> str:
    """The concept without articles, "in" and "style": "in noir style" -> "noir"."""
    lowered = concept.lower()
    for start in (*ARTICLES, "in "):
        lowered = lowered.removeprefix(start)
    return lowered.removesuffix(" style")


def contains_name(text: str, names: Sequence[str]) -> bool:
    """Whether the text mentions one of the names or contains a word that starts with one: more than `mentions` finds."""
    starts = (("" if without_spaces(name) else " ") + bare(name) for name in names)
    return any(start in f" {text.lower()} " for start in starts) or any(mentions(bare(name)).search(text) for name in names)


def tidy(text: str) -> str:
    """Remove the surplus spaces and commas that are left when a word is taken out."""
    text = " ".join(text.split())
    for gap, mend in ((" ,", ","), (" .", "."), (",.", "."), (",,", ",")):
        text = text.replace(gap, mend)
    return text.strip(" ,")
