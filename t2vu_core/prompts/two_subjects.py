"""Prompts that show the concept next to a second subject, which must stay when the concept is erased."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from t2vu_core.mentions import ARTICLES, says
from t2vu_core.prompts.pairs import PromptPair, tidy

_SECOND_SUBJECT = re.compile(r"\{\} and | and \{\}")
_SLOT_FIRST = re.compile(r"\{\} and (?P<other>(?:an?|the|some) .+?)(?= (?:\w+ing|is|are|not|in|on|at|by|with)\b|[,.]|$)")
"""The concept's slot before a second subject, which ends where the sentence says what the two do or where they are."""
_SLOT_SECOND = re.compile(r"(?P<other>\b(?:an?|the|some) (?:(?!\b(?:an?|the|some)\b)[^,.])+?) and \{\}")


def two_subject_pairs(
    said: Sequence[str], names: Sequence[str], contexts: Sequence[str], preserve: Sequence[str], *, count: int, seed: int
) -> list[PromptPair]:
    """Up to `count` pairs of a prompt with both subjects and the same prompt with the second one alone.

    `said` are the concept's names with their articles, as a sentence has them. The pairs are made from `contexts` that
    already have a second subject next to the concept's slot ("{} and a cat sleeping"), and, unless some of these say themselves
    what stays, from `preserve` prompts that begin with a subject ("a dog running": "a ghost and a dog running").
    """
    rng = random.Random(seed)
    own = [text.partition(" => ")[::2] for text in contexts]
    own = [(context, stays) for context, stays in own if has_two_subjects(context) and not says(context, names)]
    made = [(context, stays or tidy(alone(context))) for context, stays in own]
    if not any(stays for _, stays in own):
        starts = (text for text in preserve if text.lower().startswith(ARTICLES) and " and " not in text)
        made += [(f"{{}} and {text}", text) for text in starts if not says(text, names)]
    rng.shuffle(made)
    spoken = [said[index % len(said)] for index in range(len(made))]
    pairs = [PromptPair(tidy(context.replace("{}", name)), other) for (context, other), name in zip(made, spoken, strict=True)]
    return list(dict.fromkeys(pairs))[:count]


def has_two_subjects(context: str) -> bool:
    """Whether a second subject stands next to the concept's slot."""
    return bool(_SECOND_SUBJECT.search(context))


def alone(context: str) -> str:
    """The context without the concept's slot: "{} and a cat are" becomes "a cat is"."""
    before, after = re.split(_SECOND_SUBJECT, context, maxsplit=1)
    return before + re.sub(r"\bare\b", "is", after, count=1)


def both_orders(contexts: Sequence[str]) -> tuple[str, ...]:
    """The contexts, and those with a second subject also in the other order.

    "{} and a cat sleeping" also becomes "a cat and {} sleeping": a text encoder represents a word differently there.
    """
    return tuple(dict.fromkeys([*contexts, *map(swapped, contexts)]))


def swapped(context: str) -> str:
    """The context with concept and second subject in the other order; others as they are."""
    if "{} and " in context:
        return _SLOT_FIRST.sub(r"\g<other> and {}", context, count=1)
    return _SLOT_SECOND.sub(r"{} and \g<other>", context, count=1)


def second_alone(contexts: Sequence[str]) -> tuple[str, ...]:
    """The contexts; of two subjects the second one stays alone, whatever the context itself says."""
    return tuple(text.partition(" => ")[0] if has_two_subjects(text) else text for text in contexts)
