"""Starts a real ComfyUI, with this pack in it, on a port of the loopback interface."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

REPOSITORY = Path(__file__).resolve().parents[2]
SHIM = Path(__file__).resolve().parent / "shim"
PACK = "t2v-unlearning"
SETTINGS = {"Comfy.TutorialCompleted": True}
"""Frontend settings that keep the first visit from opening a dialog over the graph."""


class NoServer(RuntimeError):
    """ComfyUI cannot be started, or did not start; says why in one sentence."""


def comfyui_folder() -> Path:
    """The ComfyUI to run: COMFYUI_DIR, or the one that `./run setup` put in place."""
    return Path(os.environ.get("COMFYUI_DIR") or REPOSITORY / ".comfy" / "ComfyUI").resolve()


def _python() -> str:
    return os.environ.get("COMFYUI_PYTHON") or sys.executable


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ComfyServer:
    """A ComfyUI process with a base folder (models, input, output, user) of its own.

    `base` is made where it is missing; the ComfyUI folder itself is not written to. `pack` is the folder that is linked
    into custom_nodes.
    """

    def __init__(self, base: Path, *, port: int | None = None, flags: tuple[str, ...] = (), pack: Path = REPOSITORY) -> None:
        self.base = base
        self.pack = pack
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = base / "comfyui.log"
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Make the base folder, with the pack linked into custom_nodes; NoServer where there is nothing to run."""
        self._check()
        for name in ("custom_nodes", "models", "input", "output", "temp", "user/default"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        link = self.base / "custom_nodes" / PACK
        if link.is_symlink() and link.resolve() != self.pack:
            # This checkout was moved, or another one made the folder.
            link.unlink()
        if not link.exists():
            link.symlink_to(self.pack, target_is_directory=True)
        settings = self.base / "user" / "default" / "comfy.settings.json"
        if not settings.exists():
            settings.write_text(json.dumps(SETTINGS), encoding="utf-8")

    def _check(self) -> None:
        folder, python = comfyui_folder(), _python()
        if not (folder / "main.py").is_file():
            raise NoServer(f"There is no ComfyUI in {folder}: COMFYUI_DIR must name the folder that holds its main.py.")
        if shutil.which(python) is None:
            raise NoServer(f"There is no Python at {python}: COMFYUI_PYTHON must name the one that runs your ComfyUI.")
        with socket.socket() as probe:
            # As servers do it: a port that was in use a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except (OSError, OverflowError) as error:
                raise NoServer(f"Port {self.port} cannot be used ({error}): name another one with --port.") from error

    def command(self) -> list[str]:
        """The command line, to be run in the ComfyUI folder."""
        return [
            _python(), "main.py",
            "--listen", "127.0.0.1", "--port", str(self.port),
            "--base-directory", str(self.base), "--database-url", "sqlite:///:memory:",
            "--disable-auto-launch", "--disable-api-nodes", *_device_flags(), *self._flags,
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """The environment: offline, and with the import shim."""
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
        paths = [str(SHIM), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**os.environ, **offline, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}

    def run(self) -> int:
        """Run in the foreground until it is stopped."""
        self.prepare()
        return subprocess.call(self.command(), cwd=comfyui_folder(), env=self.environment())

    def start(self, timeout: float = 300.0) -> Self:
        """Run in the background; returns when it answers."""
        self.prepare()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=comfyui_folder(), env=self.environment(),
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            self._wait(self._process, timeout)
        except BaseException:
            # Ctrl-C does not reach it: it has a process group of its own.
            self.stop()
            raise
        return self

    def _wait(self, process: subprocess.Popen[bytes], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise NoServer(f"ComfyUI did not start; the end of its log:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.2)

    @property
    def running(self) -> bool:
        """Whether the process that was started is alive."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Ask it to end, and make sure that it does."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End it at once, as a lack of memory would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def get(self, path: str) -> Any:
        """A JSON answer."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def file(self, item: dict[str, str]) -> Path:
        """The path of a file that an output names."""
        return self.base / item["type"] / item.get("subfolder", "") / item["filename"]

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            self.get("/system_stats")
            return True
        return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *reason: object) -> None:
        self.stop()


def _device_flags() -> list[str]:
    import torch

    return [] if torch.cuda.is_available() else ["--cpu"]
