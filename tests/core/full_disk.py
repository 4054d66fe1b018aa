"""A real file system with no space left, or one that cannot be written; only root can mount one."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

BALLAST = "ballast"


@contextlib.contextmanager
def small_disk(folder: Path, *, free: int = 0, read_only: bool = False) -> Iterator[Path]:
    """`folder` as a disk with `free` bytes left (whole pages); skips the test where nothing can be mounted."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={64 * 1024 + free}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        (folder / BALLAST).write_bytes(bytes(64 * 1024))
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def left(folder: Path) -> list[str]:
    """What is there besides the ballast."""
    return sorted(path.name for path in folder.rglob("*") if path.name != BALLAST and path.is_file())
