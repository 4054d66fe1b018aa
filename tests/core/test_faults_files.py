"""Files on drives that refuse, files that change, links, and folders that two runs want: no work is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from t2vu_core.erasure import Erasure, atomic_path, check_writable
from t2vu_core.errors import Cancelled, UserError
from t2vu_core.evaluation.keep_scores import keep_scores
from t2vu_core.folder_lock import LOCK, FolderInUse, in_use, locked_folder
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.progress import TrainProgress
from t2vu_core.training.velocity.train import erase_velocity
from tests.core.example_scores import scores
from tests.core.tiny_models import TINY_MODELS
from tests.core.tiny_training import FEW

TINY = TINY_MODELS["cogvideox-2b"]
REPOSITORY = Path(__file__).parents[2]
REFUSES = """
#include <errno.h>
#include <sys/stat.h>
int chmod(const char *path, mode_t mode) { errno = EPERM; return -1; }
int fchmod(int file, mode_t mode) { errno = EPERM; return -1; }
int fchmodat(int folder, const char *path, mode_t mode, int flags) { errno = EPERM; return -1; }
int fsync(int file) { errno = EINVAL; return -1; }
"""
HOLD = """
import sys, time
from pathlib import Path
from t2vu_core.folder_lock import locked_folder

with locked_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def refusing_drive(tmp_path: Path) -> dict[str, str]:
    """The environment of a process whose chmod and fsync are refused, as on drives of FUSE and CIFS."""
    if shutil.which("gcc") is None or sys.platform != "linux":
        pytest.skip("gcc on Linux is needed to build a library that refuses chmod and fsync")
    (tmp_path / "refuses.c").write_text(REFUSES)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "refuses.so", tmp_path / "refuses.c"], check=True)
    return {**os.environ, "LD_PRELOAD": str(tmp_path / "refuses.so")}


def test_a_drive_that_refuses_chmod_and_fsync_keeps_the_training(refusing_drive: dict[str, str], tmp_path: Path) -> None:
    control = "import os, pathlib; pathlib.Path('x').touch(); os.chmod('x', 0o644)"
    refused = subprocess.run([sys.executable, "-c", control], cwd=tmp_path, env=refusing_drive, capture_output=True, text=True)
    assert "Operation not permitted" in refused.stderr
    options = [part for name, value in FEW.items() for part in ("--method-option", f"{name}={value}")]
    command = [sys.executable, "-m", "t2vu_core.cli", "erase", "--model", TINY.folder, "--device", "cpu", "--concept", "ghost"]
    files = ["--out", tmp_path / "drive" / "g", "--log", tmp_path / "drive" / "log"]
    ended = subprocess.run(
        [*command, *files, *options], cwd=REPOSITORY, env=refusing_drive, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    assert Erasure.load(tmp_path / "drive" / "g.safetensors").training["steps"] == FEW["steps"]
    assert {"state.safetensors", "mask_overlay.mp4"} <= {path.name for path in (tmp_path / "drive" / "log").iterdir()}


def test_another_error_of_chmod_is_still_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.chmod", broken)
    with pytest.raises(UserError, match="Input/output error"), atomic_path(tmp_path / "a"):
        pass
    with pytest.raises(UserError, match="Input/output error"):
        check_writable(tmp_path / "new" / "deeper" / "a")
    assert list(tmp_path.iterdir()) == [], "the check leaves neither files nor folders"


def test_a_file_that_cannot_get_its_name_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(UserError, match="Permission denied"):
        check_writable(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_followed(tmp_path: Path, exists: bool) -> None:
    store, link = tmp_path / "store", tmp_path / "ghost.safetensors"
    store.mkdir()
    if exists:
        (store / "real.safetensors").write_bytes(b"old")
    link.symlink_to(store / "real.safetensors")
    check_writable(link)
    TINY.random_erasure("lora").save(link)
    assert link.is_symlink()
    assert Erasure.load(store / "real.safetensors").concepts == ("ghost",)
    assert [path.name for path in store.iterdir()] == ["real.safetensors"]


@pytest.mark.parametrize("rewrite", ["zeros", "truncate"])
def test_a_file_that_is_rewritten_in_place_changes_nothing_loaded(tmp_path: Path, rewrite: str) -> None:
    """In a process of its own, which a mapped and truncated file would end with SIGBUS."""
    path = TINY.random_erasure("bottleneck").save(tmp_path / "ghost")
    whole = TINY.random_erasure("bottleneck").save(tmp_path / "whole")
    script = """
import sys
from pathlib import Path
from t2vu_core.erasure import Erasure

path, copy, rewrite = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
loaded = Erasure.load(path)
with path.open("r+b") as file:
    size = path.stat().st_size
    if rewrite == "truncate":
        file.truncate(0)
    else:
        file.seek(size // 2)
        file.write(bytes(size - size // 2))
loaded.save(copy)
"""
    command = [sys.executable, "-c", script, path, tmp_path / "copy", rewrite]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    expected, copied = Erasure.load(whole), Erasure.load(tmp_path / "copy.safetensors")
    assert all(torch.equal(copied.tensors[name], tensor) for name, tensor in expected.tensors.items())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists mapped files")
def test_neither_erasures_nor_states_stay_mapped(tmp_path: Path) -> None:
    erasure = Erasure.load(TINY.random_erasure("bottleneck").save(tmp_path / "ghost"))
    mapped: list[str] = []

    def stop_at(last: int) -> Callable[[TrainProgress], None]:
        def on_progress(progress: TrainProgress) -> None:
            if progress.stage == "training" and progress.step == last:
                mapped.extend(line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line)
                raise Cancelled

        return on_progress

    recipe = VelocityRecipe.preset("quick", **FEW)
    for last in (3, 4):
        with pytest.raises(Cancelled):
            erase_velocity(TINY.model, "ghost", recipe, log_folder=tmp_path, on_progress=stop_at(last))
    assert erasure.tensors
    assert mapped == []


def test_scores_go_into_the_file_that_was_measured(tmp_path: Path) -> None:
    path = TINY.random_erasure("lora").save(tmp_path / "ghost")
    measured = Erasure.load(path).with_scores(scores([False], [True]))
    kept = keep_scores(measured, path)
    assert kept == (path, None)
    assert Erasure.load(path).scores == measured.scores


def test_scores_do_not_replace_a_newer_file(tmp_path: Path) -> None:
    path = TINY.random_erasure("lora").save(tmp_path / "ghost")
    measured = Erasure.load(path).with_scores(scores([False], [True]))
    TINY.random_erasure("lora", scale=0.1).save(path)
    newer = path.read_bytes()
    kept = keep_scores(measured, path)
    assert path.read_bytes() == newer
    assert kept.path.parent == tmp_path
    assert kept.path.suffix == ".json"
    assert kept.note is not None
    assert "ghost.safetensors has changed" in kept.note


def test_saving_over_the_loaded_file_is_known_to_lose_a_newer_one(tmp_path: Path) -> None:
    path = TINY.random_erasure("lora").save(tmp_path / "ghost")
    source = Erasure.load(path).source
    assert source is not None
    assert not source.is_outdated(path)
    newer = TINY.random_erasure("lora", scale=0.1).save(tmp_path / "newer")
    newer.replace(path)
    assert source.is_outdated(path)
    assert not source.is_outdated(newer), "another name, or none, is free"


def test_a_second_training_in_one_folder_is_refused(tmp_path: Path) -> None:
    refused: list[str] = []

    def start_another(progress: TrainProgress) -> None:
        if progress.stage == "training" and progress.step == 1:
            with pytest.raises(UserError, match="Another training run is using") as error:
                erase_velocity(TINY.model, "clown", VelocityRecipe.preset("quick", **FEW), log_folder=tmp_path)
            refused.append(str(error.value))

    recipe = VelocityRecipe.preset("quick", **FEW)
    erase_velocity(TINY.model, "ghost", recipe, log_folder=tmp_path, on_progress=start_another)
    assert len(refused) == 1
    assert not (tmp_path / LOCK).exists()


def test_a_dead_process_leaves_no_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert in_use(tmp_path)
        with pytest.raises(FolderInUse), locked_folder(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
    assert (tmp_path / LOCK).exists(), "the file is still there, but the lock is not"
    with locked_folder(tmp_path) as locked:
        assert locked
    assert list(tmp_path.iterdir()) == []


def test_a_drive_without_locks_still_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("t2vu_core.folder_lock._lock", unsupported)
    with locked_folder(tmp_path) as locked:
        assert not locked


def test_evaluate_says_that_the_file_has_changed(t2vu: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = TINY.random_erasure("bottleneck").save(tmp_path / "ghost")
    (tmp_path / "prompts.txt").write_text("a red ghost floats\n", encoding="utf-8")
    load = Erasure.load

    def load_and_retrain(file: object) -> Erasure:
        loaded = load(str(file))
        TINY.random_erasure("bottleneck", scale=0.1).save(path)
        return loaded

    monkeypatch.setattr(Erasure, "load", load_and_retrain)
    model = ["--model", TINY.folder, "--device", "cpu", "--concept", "ghost", "--erasure", path]
    code, out, error = t2vu("evaluate", *model, "--out", tmp_path / "out", "--steps", 2, "--prompts", tmp_path / "prompts.txt")
    assert code == 0, error
    assert "ghost.safetensors has changed" in out
    assert load(path).scores is None
    assert len(list(tmp_path.glob("ghost-scores-*.json"))) == 1
