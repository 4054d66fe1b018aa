"""Errors that users see: one sentence that says what is wrong and what to do."""

from __future__ import annotations


class UserError(ValueError):
    """Invalid input. The command line prints the message and exits with code 2; a node shows it."""


def first_line(error: BaseException) -> str:
    """The first line of another library's error message, or the whole message if its first line ends with a colon.

    The name of the error's class if the message is empty.
    """
    lines = [line.strip() for line in str(error).strip().splitlines()]
    if lines and lines[0].endswith(":"):
        return " ".join(filter(None, lines))
    return next(iter(lines), type(error).__name__)


class Cancelled(Exception):
    """The user cancelled; this is not a failure."""
