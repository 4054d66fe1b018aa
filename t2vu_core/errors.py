"""What goes wrong because of the user's input: one sentence that says what it was and what to do."""

from __future__ import annotations


class UserError(ValueError):
    """Input that cannot be used. The command line exits with 2 and prints the sentence; a node shows it."""


class Cancelled(Exception):
    """The user stopped the work; nothing is wrong."""
