"""`./run` and what it starts: a wrong word, a wrong folder, a port in use, Ctrl-C, a checkout that was moved."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.ctrl_c import ctrl_c_works, press_ctrl_c_when
from tools import serve
from tools.comfyui import ComfyServer
from tools.comfyui.server import PACK, REPOSITORY

HANGS = "import os, pathlib, time; pathlib.Path('started').write_text(str(os.getpid())); time.sleep(120)"
"""A ComfyUI that never answers."""


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """COMFYUI_DIR is a folder whose main.py starts and never answers."""
    folder = tmp_path / "ComfyUI"
    folder.mkdir()
    (folder / "main.py").write_text(HANGS, encoding="utf-8")
    monkeypatch.setenv("COMFYUI_DIR", str(folder))
    return folder


@pytest.fixture
def port_in_use() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_wrong_word_is_named_with_the_right_ones() -> None:
    done = subprocess.run([REPOSITORY / "run", "dance"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    commands = "demo, serve, test, minimums, docs and setup"
    assert done.stderr == f"run: there is no command 'dance'; the commands are {commands} (./run --help).\n"


def test_no_word_at_all_shows_the_commands() -> None:
    done = subprocess.run([REPOSITORY / "run"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage: ./run COMMAND" in done.stderr


def _refusal(base: Path, port: int, capsys: pytest.CaptureFixture[str]) -> str:
    assert serve.main(["--base", str(base), "--port", str(port)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("run: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_port_in_use_is_said_before_comfyui_starts(
    hanging: Path, port_in_use: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _refusal(tmp_path / "base", port_in_use, capsys)
    assert f"Port {port_in_use} cannot be used" in said
    assert "--port" in said
    assert not (hanging / "started").exists()


def test_a_folder_without_comfyui_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYUI_DIR", str(tmp_path / "typo"))
    said = _refusal(tmp_path / "base", 0, capsys)
    assert f"There is no ComfyUI in {tmp_path / 'typo'}: COMFYUI_DIR" in said


def test_a_python_that_is_not_there_is_named(
    hanging: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYUI_PYTHON", str(tmp_path / "python"))
    assert "COMFYUI_PYTHON must name" in _refusal(tmp_path / "base", 0, capsys)


def test_ctrl_c_while_comfyui_starts_leaves_no_server_behind(hanging: Path, tmp_path: Path) -> None:
    started = hanging / "started"
    press_ctrl_c_when(lambda: started.is_file() and bool(started.read_text(encoding="utf-8")))
    with ctrl_c_works(), pytest.raises(KeyboardInterrupt):
        ComfyServer(tmp_path / "base").start()
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text(encoding="utf-8")), 0)


def test_a_checkout_that_was_moved_is_served_from_where_it_is(hanging: Path, tmp_path: Path) -> None:
    server = ComfyServer(tmp_path / "base")
    link = server.base / "custom_nodes" / PACK
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "where it was", target_is_directory=True)
    server.prepare()
    assert link.resolve() == REPOSITORY
