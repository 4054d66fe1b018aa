"""Neighbours of a concept from a language model: the instruction, its examples, and how an answer is read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from t2vu_core.mentions import says
from t2vu_core.prompts.common_concepts import MOST_NEIGHBOURS, ConceptKind

INSTRUCTION = (
    "You name what is close to a subject, but something else, so that a video model can be tested on it. Answer with eight "
    "names of the same kind, separated by commas, and nothing more. Never use the subject's own name."
)
EXAMPLES = (
    (
        "golden retriever (thing)",
        "a poodle, a husky, a german shepherd, a beagle, a wolf, a fox, a cat, a pony",
    ),
    (
        "in the style of Van Gogh (style)",
        "in the style of Claude Monet, in the style of Paul Cezanne, in the style of Edvard Munch, in impressionist style, "
        "as an oil painting, as a watercolor painting, in the style of Rembrandt, as a photograph",
    ),
    (
        "smoking (act)",
        "drinking coffee, chewing gum, eating an apple, talking on the phone, blowing soap bubbles, whistling, holding a pen, "
        "yawning",
    ),
)
FEWEST = 3
"""With fewer the shipped table is used."""
_SEPARATOR = re.compile(r"[,;\n]|\s(?=\d+[.)]\s)")
_NUMBER = re.compile(r"^\s*(?:\d+[.)]|[-*\u2022])\s*")
_MOST_WORDS = 8


def question(name: str, kind: ConceptKind) -> str:
    """What the model is asked about."""
    return f"{name} ({kind})"


def neighbours_in(answers: Sequence[str], names: Sequence[str]) -> list[str]:
    """Different neighbours in the answers, the most frequent first; none says one of `names` or is said by one."""
    counts: dict[str, int] = {}
    for answer in answers:
        for name in dict.fromkeys(_clean(part) for part in _SEPARATOR.split(answer)):
            if name and not says(name, names) and not any(says(own, [name]) for own in names):
                counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: -counts[name])[:MOST_NEIGHBOURS]


def _clean(part: str) -> str:
    """A name without quotes and full stops; empty if it is none: too long, a sentence, or without letters."""
    name = " ".join(_NUMBER.sub("", part).strip(" .\"'*:\u201c\u201d").split())
    return name if name[:1].isalpha() and len(name.split()) <= _MOST_WORDS and not re.search(r"[.:!?()]", name) else ""
