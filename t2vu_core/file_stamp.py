"""What a file held when it was read, to tell later whether another program has changed it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileStamp:
    """A file and the SHA-256 of its bytes. Times of change are too coarse on some drives."""

    path: Path
    digest: str

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        """The stamp of the file as it is now. Raises OSError if it cannot be read."""
        with path.open("rb") as file:
            return cls(path.absolute(), hashlib.file_digest(file, "sha256").hexdigest())

    def is_current(self) -> bool:
        """Whether the file still holds the same bytes."""
        try:
            return FileStamp.of(self.path) == self
        except OSError:
            return False

    def is_outdated(self, path: Path) -> bool:
        """Whether `path` is this file, under any of its names, and has changed: to write there would lose what is new."""
        return path.exists() and self.path.exists() and path.samefile(self.path) and not self.is_current()
