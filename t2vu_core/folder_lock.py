"""A lock on a training run's folder. It is held by an open file, so the system releases it when the process dies."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from t2vu_core.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

log = logging.getLogger(__name__)

LOCK = ".lock"
_HELD_BY_OTHERS = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK)


class FolderInUse(UserError):
    """Another run holds the folder."""


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[bool]:
    """Hold the folder, and make it if it is missing; gives False on a drive without locks or one that cannot be written.

    Raises FolderInUse if another run, in this process or another, holds it.
    """
    made = not folder.exists()
    try:
        file = _open_locked(folder)
    except FolderInUse:
        raise
    except OSError as error:
        log.debug("%s cannot be locked: %s", folder, error)
        yield False
        return
    try:
        yield True
    finally:
        _release(file, folder / LOCK)
        if made:
            # A run that was refused or cancelled before its first step leaves no folder.
            with contextlib.suppress(OSError):
                folder.rmdir()


def in_use(folder: Path) -> bool:
    """Whether a run holds the folder."""
    if not (folder / LOCK).exists():
        return False
    try:
        with locked_folder(folder):
            return False
    except FolderInUse:
        return True


def _open_locked(folder: Path) -> IO[bytes]:
    """The locked file. A file that its former holder removed while this process waited for it is opened again."""
    path = folder / LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
        try:
            _lock(file)
            if _is_at(file, path):
                return file
        except OSError as error:
            file.close()
            if error.errno in _HELD_BY_OTHERS:
                raise FolderInUse(
                    f"Another training run is using {folder}: wait until it ends, or choose another folder."
                ) from error
            raise
        file.close()


def _lock(file: IO[bytes]) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _release(file: IO[bytes], path: Path) -> None:
    """Remove the file and give up the lock; the file of a run that came after the folder was removed is left alone."""
    ours = _is_at(file, path)
    if fcntl is None:
        # Windows removes no open file.
        file.close()
    if ours:
        with contextlib.suppress(OSError):
            path.unlink()
    file.close()
