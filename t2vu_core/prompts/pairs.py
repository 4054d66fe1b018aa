"""A prompt with the concept and the same prompt without it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PromptPair:
    """A prompt that names the concept, and the same prompt without it."""

    prompt: str
    neutral: str


def tidy(text: str) -> str:
    """Remove the surplus spaces and commas that are left when a word is taken out."""
    text = " ".join(text.split())
    for gap, mend in ((" ,", ","), (" .", "."), (",.", "."), (",,", ",")):
        text = text.replace(gap, mend)
    return text.strip(" ,")
