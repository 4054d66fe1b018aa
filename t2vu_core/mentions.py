"""Finding the places where a text mentions a name."""

from __future__ import annotations

import re
from functools import lru_cache

FIRST_CJK = 0x2E80
"""Letters from here on belong to languages that put no spaces between words."""


def without_spaces(name: str) -> bool:
    """Whether the name is in a language that puts no spaces between words."""
    return any(ord(letter) >= FIRST_CJK for letter in name)


@lru_cache(maxsize=4096)
def mentions(name: str) -> re.Pattern[str]:
    """A pattern that finds a name in any case, with any space between its words, in the plural or with a possessive 's.

    It never matches inside another word if words are separated by spaces. The group `possessive` is the 's.
    """
    words = r"\s+".join(re.escape(word) for word in name.split())
    possessive = "(?P<possessive>'s)"
    if without_spaces(name):
        return re.compile(f"{words}{possessive}?", re.IGNORECASE)
    return re.compile(rf"(?<!\w){words}(?:e?s|{possessive})?(?!\w)", re.IGNORECASE)
