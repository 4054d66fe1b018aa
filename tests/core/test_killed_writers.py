"""What a writer that was killed leaves is removed by the next one; files of living writers stay."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from safetensors.torch import save_file

from t2vu_core.erasure import atomic_path, check_writable
from t2vu_core.errors import UserError
from t2vu_core.folder_lock import LOCK
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.temporary_folders import OLD, temporary_folder
from t2vu_core.training.velocity.cache import TrajectoryCache
from t2vu_core.training.workers import Workers
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has neither fork nor SIGKILL")


@contextlib.contextmanager
def process(target: Callable[..., None], *arguments: object) -> Iterator[BaseProcess]:
    """A process that has reached `wait_at`; killed at the end of the block."""
    reached = get_context("fork").Event()
    made = get_context("fork").Process(target=target, args=(reached.set, *arguments))
    made.start()
    assert reached.wait(60)
    try:
        yield made
    finally:
        kill(made)


def kill(made: BaseProcess) -> None:
    made.kill()
    made.join()
    assert made.exitcode == -signal.SIGKILL


def write(reached: Callable[[], None], target: Path) -> None:
    with atomic_path(target) as temporary:
        save_file(dict(TINY.random_erasure("lora").tensors), temporary)
        # As safetensors writes a file.
        temporary.rename(temporary.with_name(".tmpA1b2C3"))
        reached()
        time.sleep(600)


def hold_trajectories(reached: Callable[[], None]) -> None:
    recipe = VelocityRecipe.preset("quick", trajectory_cache="disk")
    with TrajectoryCache.open(recipe, None, Workers()) as cache:
        assert cache.folder is not None
        (cache.folder / "00000.safetensors").write_bytes(b"x")
        reached()
        time.sleep(600)


def hidden(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*"))


def save(folder: Path) -> None:
    TINY.random_erasure("lora").save(folder / "ghost")


def check(folder: Path) -> None:
    check_writable(folder / "ghost.safetensors")


def save_another(folder: Path) -> None:
    TINY.random_erasure("lora").save(folder / "clown")


@pytest.mark.parametrize("another", [save, check, save_another])
def test_a_killed_writer_s_file_is_removed_by_the_next_writer_and_a_living_one_s_stays(
    tmp_path: Path, another: Callable[[Path], None]
) -> None:
    with process(write, tmp_path / "ghost.safetensors") as killed, process(write, tmp_path / "ghost.safetensors"):
        both = hidden(tmp_path)
        kill(killed)
        another(tmp_path)
        (living,) = hidden(tmp_path)
        assert len(both) == 2
        assert living in both
        another(tmp_path)
        assert hidden(tmp_path) == [living]


def test_files_of_the_user_stay(tmp_path: Path) -> None:
    own = [tmp_path / name for name in (".ghost-a1b2c3d4.safetensors", "ghost.t2vu-a1b2c3d4", ".t2vu-mine", ".a.t2vu-x", LOCK)]
    for path in own:
        path.write_bytes(b"x")
    (tmp_path / "a.t2vu-a1b2c3d4").mkdir()
    save(tmp_path)
    assert all(path.exists() for path in own)
    assert (tmp_path / "a.t2vu-a1b2c3d4").is_dir()


def test_on_a_drive_without_locks_only_old_folders_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("t2vu_core.folder_lock._lock", unsupported)
    new, old = tmp_path / ".a.t2vu-a1b2c3d4", tmp_path / ".a.t2vu-a1b2c3d5"
    for path in (new, old):
        path.mkdir()
        (path / LOCK).touch()
    os.utime(old, (time.time() - 2 * OLD,) * 2)
    save(tmp_path)
    assert hidden(tmp_path) == [new]


def test_a_folder_that_was_not_locked_yet_goes_if_it_is_empty(tmp_path: Path) -> None:
    """A kill between the two leaves such a folder; a living writer makes it again."""
    empty, full = tmp_path / ".a.t2vu-a1b2c3d4", tmp_path / ".a.t2vu-a1b2c3d5"
    for path in (empty, full):
        path.mkdir()
    (full / "new.safetensors").touch()
    save(tmp_path)
    assert hidden(tmp_path) == [full]


def test_trajectories_of_a_killed_run_are_removed_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with process(hold_trajectories) as killed, process(hold_trajectories):
        both = list(tmp_path.iterdir())
        kill(killed)
        with temporary_folder(tmp_path, "trajectories") as own:
            assert {own} == {*tmp_path.iterdir()} - {*both}
            (living,) = {*tmp_path.iterdir()} & {*both}
        assert list(tmp_path.iterdir()) == [living]


def test_a_refused_write_gives_up_its_file_and_its_lock(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Nothing was left there"), atomic_path(tmp_path / "ghost"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []
