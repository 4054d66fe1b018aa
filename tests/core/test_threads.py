"""On a machine that other processes use, torch computes with the cores that are left, and everything is put back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from t2vu_core import threads
from t2vu_core.threads import cores_free, free_threads, keep_threads, usable_cores

LOOP = "while True: pass"


@pytest.fixture(autouse=True)
def torch_has_all_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    for name in threads.SET_BY_USER:
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(max(2, usable_cores()))
    yield
    torch.set_num_threads(before)


def own_cores(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(threads, "usable_cores", torch.get_num_threads)
    monkeypatch.setattr(threads, "cores_free", lambda cores: free)


def test_threads_that_would_wait_for_busy_cores_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    own_cores(monkeypatch, free=1)
    whole = torch.get_num_threads()
    with free_threads():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == whole
    with pytest.raises(KeyError), free_threads():
        raise KeyError
    assert torch.get_num_threads() == whole, "a host such as ComfyUI keeps its setting"


def test_all_threads_are_used_where_all_cores_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    own_cores(monkeypatch, free=64)
    whole = torch.get_num_threads()
    with free_threads():
        assert torch.get_num_threads() == whole


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    own_cores(monkeypatch, free=1)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    whole = torch.get_num_threads()
    with free_threads():
        assert torch.get_num_threads() == whole
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "usable_cores", lambda: 64)
    with free_threads():
        assert torch.get_num_threads() == whole, "set by torch.set_num_threads"


@pytest.mark.skipif(not threads.STAT.is_file(), reason="the use of the cores is measured on Linux only")
def test_busy_processes_are_seen() -> None:
    cores = usable_cores()
    processes = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(cores)]
    try:
        assert min(cores_free(cores) for _ in range(5)) <= cores // 2
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_container_s_quota_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "stat").write_text("cpu0 0 0 0 0 0 0 0 0\n")
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(threads, "STAT", tmp_path / "stat")
    assert cores_free(64) == 2


def test_a_resumed_run_computes_with_the_threads_of_its_state() -> None:
    whole = torch.get_num_threads()
    keep_threads({"threads": "1"})
    assert torch.get_num_threads() == 1
    keep_threads({"threads": "no number"})
    keep_threads({})
    assert torch.get_num_threads() == 1 != whole
