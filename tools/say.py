"""What the commands of `run` tell the person at the terminal, at once."""

import sys


def say(text: str = "", end: str = "\n") -> None:
    """Write to standard output."""
    sys.stdout.write(text + end)
    sys.stdout.flush()


def complain(text: str) -> None:
    """Write what went wrong to standard error."""
    sys.stderr.write(f"run: {text}\n")
