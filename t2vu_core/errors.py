"""What goes wrong because of the user's input: one sentence that says what it was and what to do."""

from __future__ import annotations


class UserError(ValueError):
    """Input that cannot be used. The command line exits with 2 and prints the sentence; a node shows it."""


def first_line(error: BaseException) -> str:
    """What another library's error says, in its first line; all of it where that only announces a list.

    The error's name where it says nothing.
    """
    lines = [line.strip() for line in str(error).strip().splitlines()]
    if lines and lines[0].endswith(":"):
        return " ".join(filter(None, lines))
    return next(iter(lines), type(error).__name__)


class Cancelled(Exception):
    """The user stopped the work; nothing is wrong."""
