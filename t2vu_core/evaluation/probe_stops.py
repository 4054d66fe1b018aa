"""The starts and stops at which PROBE is measured, as the parts of its scores name them: "random, 300 steps"."""

from __future__ import annotations

from collections.abc import Iterable

STARTS = ("erased word", "random", "another subject")
"""What the vectors start as: the concept's own tokens, tokens drawn at random, or those of another subject."""
THOROUGH_STEPS = 600
"""After fewer steps, or from a single start, a rate is a lower bound: styles come back later than that."""


def title(start: str, step: int) -> str:
    """The name of the part that is measured from this start after so many steps."""
    return f"{start}, {step} steps"


def is_thorough(titles: Iterable[str]) -> bool:
    """Whether these parts have several starts of THOROUGH_STEPS or more. An attack without parts had one start."""
    long = [name.rpartition(", ") for name in titles]
    return len({start for start, _, steps in long if _steps(steps) >= THOROUGH_STEPS}) > 1


def _steps(words: str) -> int:
    """The number in "300 steps"; 0 for other words."""
    number = words.removesuffix(" steps")
    return int(number) if number.isdecimal() else 0
