"""Names of files: what a drive takes, and names made of words."""

from __future__ import annotations

import os
from pathlib import Path

from t2vu_core.errors import UserError

MAX_BYTES = 255
"""Of one name, on the usual file systems."""


def check_names(path: str | os.PathLike[str]) -> Path:
    """The path. Raises UserError if a name in it is longer than a drive takes."""
    for name in Path(path).parts:
        length = num_bytes(name)
        if length > MAX_BYTES:
            raise UserError(f"The name {name[:30]}... has {length} bytes, but a drive takes {MAX_BYTES}. Choose a shorter one.")
    return Path(path)


def cut_to_bytes(name: str, most: int) -> str:
    """The beginning of the name, of at most that many bytes."""
    return _encoded(name)[:most].decode(errors="ignore")


def num_bytes(name: str) -> int:
    """The length of a name as a drive counts it."""
    return len(_encoded(name))


def _encoded(name: str) -> bytes:
    # A name may hold halves of characters: bytes that are no UTF-8, or text from a broken file.
    return name.encode("utf-8", "surrogatepass")
