"""Prompts that show the concept next to a second subject, which must stay when the concept is erased."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from t2vu_core.prompts.pairs import ARTICLES, NEUTRAL, PromptPair, contains_name, tidy, with_article

_SECOND_SUBJECT = re.compile(r"\{\} and | and \{\}")
_SLOT_FIRST = re.compile(r"\{\} and (?P<other>(?:an?|the|some) .+?)(?= (?:\w+ing|is|are|not|in|on|at|by|with)\b|[,.]|$)")
"""The concept's slot before a second subject, which ends where the sentence says what the two do or where they are."""


def two_subject_pairs(
    names: Sequence[str], contexts: Sequence[str], preserve: Sequence[str], *, count: int, seed: int
) -> list[PromptPair]:
    """Up to `count` pairs of a prompt with both subjects and the same prompt with the second one alone.

    They are made from `contexts` that already have a second subject next to the concept's slot ("{} and a cat sleeping"),
    and from `preserve` prompts that begin with a subject ("a dog running": "a ghost and a dog running").
    """
    rng = random.Random(seed)
    made = [
        (context, tidy(_alone(context)))
        for context in contexts
        if _SECOND_SUBJECT.search(context) and not contains_name(context, names)
    ]
    starts = [
        text
        for text in preserve
        if text.lower().startswith(ARTICLES) and " and " not in text and not contains_name(text, names)
    ]
    made += [(f"{{}} and {text}", text) for text in starts]
    rng.shuffle(made)
    said = [with_article(names[index % len(names)]) for index in range(len(made))]
    pairs = [PromptPair(tidy(context.replace("{}", name)), alone) for (context, alone), name in zip(made, said, strict=True)]
    return list(dict.fromkeys(pairs))[:count]


def other_alone(pair: PromptPair) -> PromptPair:
    """The pair; if it has two subjects, with a neutral prompt that names the second one alone.

    "a cat and something" asks for another subject, which may well be the concept.
    """
    context = re.sub(rf"\b{NEUTRAL}\b", "{}", pair.neutral, count=1)
    return PromptPair(pair.prompt, tidy(_alone(context))) if _SECOND_SUBJECT.search(context) else pair


def _alone(context: str) -> str:
    """The context without the concept's slot: "{} and a cat are" becomes "a cat is"."""
    before, after = re.split(_SECOND_SUBJECT, context, maxsplit=1)
    return before + re.sub(r"\bare\b", "is", after, count=1)


def both_orders(contexts: Sequence[str]) -> tuple[str, ...]:
    """The contexts, and those with a second subject after the concept also in the other order.

    "{} and a cat sleeping" also becomes "a cat and {} sleeping": a text encoder represents a word differently there.
    """
    swapped = (_SLOT_FIRST.sub(r"\g<other> and {}", text, count=1) for text in contexts)
    return tuple(dict.fromkeys([*contexts, *swapped]))
