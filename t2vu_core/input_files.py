"""Files that a user names: regular files of a bounded size, never a FIFO, a device or a socket."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from t2vu_core.errors import UserError, first_line

MOST_BYTES = 16 * 2**20
"""Of a file that is read whole as text."""
MOST_CONFIG_BYTES = 64 * 2**20
"""Of a tokenizer's JSON file; vocabularies of 250,000 tokens take 17 MB."""


def check_regular(path: Path, failure: str, advice: str = "Name a regular file.") -> None:
    """Raise UserError (`failure`, the reason, `advice`) unless `path` is a regular file.

    To open a FIFO waits for a writer, and a device has no end.
    """
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError) as error:
        raise UserError(f"{failure}: {getattr(error, 'strerror', None) or error}.") from error
    if not regular:
        raise UserError(f"{failure}: it is not a regular file. {advice}")


def read_bounded(path: Path, failure: str, advice: str = "Name a regular file.", most: int = MOST_BYTES) -> bytes:
    """The content of a regular file. Raises UserError as `check_regular` does, and for more than `most` bytes."""
    check_regular(path, failure, advice)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise UserError(f"{failure}: {error.strerror or first_line(error)}.") from error
    if len(content) > most:
        raise UserError(f"{failure}: it is too large, more than {most // 2**20} MiB.")
    return content


def check_regular_folder(folder: Path, failure: str) -> None:
    """Raise UserError (`failure`, the reason) if the folder or a folder in it holds a FIFO, a device or a socket."""
    for entry in _entries(folder):
        if entry.is_dir():
            continue
        try:
            regular = stat.S_ISREG(entry.stat().st_mode)
        except FileNotFoundError:
            # A link to nothing: whoever opens it says so.
            continue
        if not regular:
            raise UserError(f"{failure}: {entry.path} is not a regular file. Download the model again.")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in the folder and in the folders directly below it."""
    found: list[os.DirEntry[str]] = []
    with os.scandir(folder) as entries:
        found += entries
    for entry in [entry for entry in found if entry.is_dir()]:
        with os.scandir(entry) as entries:
            found += entries
    return found


def check_output(target: Path) -> None:
    """Raise UserError if something is at `target` that is not a file: replacing a device would break the system."""
    if target.exists() and not target.is_file() and not target.is_dir():
        raise UserError(f"{target} is a device, a pipe or a socket; name a regular file to write.")
