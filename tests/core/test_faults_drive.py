"""A drive that refuses chmod or fsync, as FUSE and CIFS may: what can be written plainly is written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from t2vu_core.erasure import Erasure
from tests.core.tiny_models import TINY_MODELS

REPOSITORY = Path(__file__).parents[2]
TINY = TINY_MODELS["cogvideox-2b"]
REFUSING = """
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
static int refuse(const char *name) { fprintf(stderr, "refused %s\\n", name); errno = ERROR; return -1; }
int chmod(const char *path, mode_t mode) { return refuse("chmod"); }
int fchmod(int file, mode_t mode) { return refuse("chmod"); }
int fchmodat(int folder, const char *path, mode_t mode, int flags) { return refuse("chmod"); }
int fsync(int file) { return refuse("fsync"); }
"""
WRITING = """
import sys
from pathlib import Path
from t2vu_core.erasure import Erasure, check_writable
source, target = map(Path, sys.argv[1:])
check_writable(target)
Erasure.load(source).save(target)
"""


def on_refusing_drive(error: str, tmp_path: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Save an erasure in a process whose chmod and fsync fail with this error; returns how it ended, and the file."""
    if sys.platform != "linux" or shutil.which("gcc") is None:
        pytest.skip("LD_PRELOAD needs Linux and gcc")
    code, library = tmp_path / "refusing.c", tmp_path / "refusing.so"
    code.write_text(REFUSING)
    subprocess.run(["gcc", f"-DERROR={error}", "-shared", "-fPIC", "-o", library, code], check=True)
    source, target = TINY.random_erasure("lora").save(tmp_path / "source"), tmp_path / "drive" / "ghost.safetensors"
    ended = subprocess.run(
        [sys.executable, "-c", WRITING, source, target], cwd=REPOSITORY, env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "refused chmod" in ended.stderr
    return ended, target


@pytest.mark.parametrize("error", ["EPERM", "ENOTSUP", "EINVAL", "ENOSYS"])
def test_an_erasure_is_written_where_chmod_and_fsync_are_refused(error: str, tmp_path: Path) -> None:
    ended, target = on_refusing_drive(error, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "refused fsync" in ended.stderr
    assert Erasure.load(target).describe() == Erasure.load(tmp_path / "source.safetensors").describe()
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_broken_drive_is_found_before_the_training(tmp_path: Path) -> None:
    ended, target = on_refusing_drive("EIO", tmp_path)
    assert ended.returncode == 1
    assert "in check_writable" in ended.stderr
    assert f"Cannot write to {target.parent}: Input/output error." in ended.stderr
    assert not target.parent.exists()
