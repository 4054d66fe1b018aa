"""The tests in other environments than `./run test` makes: `nox -s minimums`. `nox -l` lists them.

`./run test` prepares the ComfyUI in `.comfy` that the session `pinned` needs.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["minimums"]
ROOT = Path(__file__).parent
NEWEST_FIRST = [f"python3.{minor}" for minor in range(20, 10, -1)]


def pinned_torch() -> str:
    """torch by its exact version: installed first, so that no other package chooses one."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("torch=="))


def newest_python() -> str:
    """The newest Python on the path that starts."""
    return next((name for name in NEWEST_FIRST if shutil.which(name)), "python3")


@nox.session(python="3.11")
def pinned(session: nox.Session) -> None:
    """The whole suite with the tested versions."""
    session.install(pinned_torch(), "-c", "constraints.txt")
    session.install("-e", ".[test,docs]", "-r", "tools/comfyui/requirements.txt", "-c", "constraints.txt")
    session.install("--no-deps", "-r", "tools/comfyui/requirements-alone.txt", "-c", "constraints.txt")
    site_packages = session.run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", silent=True)
    shutil.copy(ROOT / "tools/comfyui/shim/sitecustomize.py", str(site_packages).strip())
    session.run("pytest", *session.posargs)


@nox.session(python="3.11")
def minimums(session: nox.Session) -> None:
    """The smoke tests with the oldest versions that are declared; `nox -s minimums -- tests/core` runs more."""
    session.install(pinned_torch(), "-c", "minimums.txt")
    session.install("-e", ".", "-r", "minimums.txt")
    session.run("pytest", *(session.posargs or ["-m", "smoke"]))


@nox.session(python=newest_python())
def newest(session: nox.Session) -> None:
    """The smoke tests with the newest Python at hand and the newest versions, but the tested torch."""
    session.install(pinned_torch())
    session.install("-e", ".", "pytest", "pytest-timeout", "aiohttp", "scipy", pinned_torch())
    session.run("pytest", *(session.posargs or ["-m", "smoke"]))
