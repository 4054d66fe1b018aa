"""Temporary folders, and the removal of those that a killed process left.

A writer's own folder also holds what a library writes under other names: safetensors writes `.tmpXXXXXX` and renames it. The
folder is locked for as long as its process lives.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from t2vu_core.file_names import MAX_BYTES, cut_to_bytes
from t2vu_core.folder_lock import LOCK, FolderInUse, locked_folder

log = logging.getLogger(__name__)

MARK = ".t2vu-"
"""In the name of everything temporary: nothing of a user is taken for it."""
PROBE = "-"
"""At the end of the name of a file that `check_writable` writes and removes at once."""
RANDOM_CHARACTERS = 8
"""Characters that `tempfile` adds to a name."""
NAME = re.compile(rf"\..*{re.escape(MARK)}[a-z0-9_]{{{RANDOM_CHARACTERS}}}{PROBE}?", re.DOTALL)
OLD = 7 * 24 * 3600.0
"""Seconds without a change after which a folder without a lock has no writer: drives without locks give no other sign."""


@contextlib.contextmanager
def temporary_folder(parent: Path, name: str = "") -> Iterator[Path]:
    """A folder of this process in `parent`, removed at the end of the block; first, leftovers in `parent` are removed.

    Raises OSError if it cannot be made.
    """
    remove_leftovers(parent)
    prefix = f".{cut_to_bytes(name, MAX_BYTES - RANDOM_CHARACTERS - len(MARK) - len(PROBE) - 1)}{MARK}"
    with contextlib.ExitStack() as stack:
        while True:
            made = tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(made))
            # Another process may take a folder that is not locked yet for a leftover.
            with contextlib.suppress(FolderInUse):
                stack.enter_context(locked_folder(folder))
                if folder.is_dir():
                    break
        yield folder


def remove_leftovers(parent: Path) -> None:
    """Remove what writers that have died left in the folder. Folders of living writers stay."""
    try:
        names = [name for name in os.listdir(parent) if NAME.fullmatch(name)]
    except OSError:
        return
    for path in (parent / name for name in names):
        with contextlib.suppress(OSError, FolderInUse):
            if path.is_dir() and not path.is_symlink():
                _remove_leftover(path)
            else:
                path.unlink()


def _remove_leftover(folder: Path) -> None:
    """Remove the folder of a writer that has died. Raises FolderInUse if it lives."""
    old = time.time() - folder.stat().st_mtime > OLD
    if not (folder / LOCK).exists() and not old:
        # Its writer is about to lock it, or was killed before it did; if it lives, it makes an empty folder again.
        folder.rmdir()
        return
    with locked_folder(folder) as locked:
        if locked or old:
            shutil.rmtree(folder, ignore_errors=True)
            log.info("Removed %s, which a process that was killed had left.", folder)
