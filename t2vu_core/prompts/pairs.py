"""A prompt with the concept and the same prompt without it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_EMPTY_WEIGHT = re.compile(r"\(\s*(?::\s*[\d.]+\s*)?\)")


@dataclass(frozen=True)
class PromptPair:
    """A prompt that names the concept, and the same prompt without it."""

    prompt: str
    neutral: str


def tidy(text: str) -> str:
    """Remove the surplus spaces, commas and empty weights that are left when a word is taken out."""
    text = " ".join(_EMPTY_WEIGHT.sub("", text).split())
    for gap, mend in ((" ,", ","), (" .", "."), (",.", "."), (",,", ",")):
        text = text.replace(gap, mend)
    return re.sub(r"^\s*:\s+", "", text).strip(" ,")
