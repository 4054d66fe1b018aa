"""Prompts that show the concept beside another subject: the other must stay when the concept goes."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from t2vu_core.prompts.pairs import ARTICLES, NEUTRAL, PromptPair, says, tidy, with_article

_BESIDE = re.compile(r"\{\} and | and \{\}")
_FIRST = re.compile(r"\{\} and (?P<other>(?:an?|the|some) .+?)(?= (?:\w+ing|is|are|not|in|on|at|by|with)\b|[,.]|$)")
"""The concept's place before another subject, which ends where the sentence says what the two do, or where they are."""


def two_subject_pairs(
    names: Sequence[str], contexts: Sequence[str], preserve: Sequence[str], *, count: int, seed: int
) -> list[PromptPair]:
    """Up to `count` pairs of a prompt with both subjects, and the same prompt with the other one alone.

    They are made of `contexts` that already have another subject beside the concept's place ("{} and a cat
    sleeping"), and of `preserve` prompts that begin with a subject ("a dog running": "a ghost and a dog running").
    """
    rng = random.Random(seed)
    made = [(context, tidy(_alone(context))) for context in contexts if _BESIDE.search(context) and not says(context, names)]
    starts = [text for text in preserve if text.lower().startswith(ARTICLES) and " and " not in text and not says(text, names)]
    made += [(f"{{}} and {text}", text) for text in starts]
    rng.shuffle(made)
    said = [with_article(names[index % len(names)]) for index in range(len(made))]
    pairs = [PromptPair(tidy(context.replace("{}", name)), alone) for (context, alone), name in zip(made, said, strict=True)]
    return list(dict.fromkeys(pairs))[:count]


def other_alone(pair: PromptPair) -> PromptPair:
    """The pair; where it has two subjects, its neutral prompt says the other one alone.

    "a cat and something" asks for a second subject, which may well be the concept.
    """
    context = re.sub(rf"\b{NEUTRAL}\b", "{}", pair.neutral, count=1)
    return PromptPair(pair.prompt, tidy(_alone(context))) if _BESIDE.search(context) else pair


def _alone(context: str) -> str:
    """Without the concept's place; "{} and a cat are" becomes "a cat is"."""
    before, after = re.split(_BESIDE, context, maxsplit=1)
    return before + re.sub(r"\bare\b", "is", after, count=1)


def both_orders(contexts: Sequence[str]) -> tuple[str, ...]:
    """The contexts, and those whose concept has another subject after it once more with that one first.

    "{} and a cat sleeping" becomes "a cat and {} sleeping": a text encoder reads a word after another subject as another one.
    """
    swapped = (_FIRST.sub(r"\g<other> and {}", text, count=1) for text in contexts)
    return tuple(dict.fromkeys([*contexts, *swapped]))
