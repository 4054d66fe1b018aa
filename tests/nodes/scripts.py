"""Runs one of this folder's scripts in ComfyUI's folder, in a process of its own, and reads what it found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from tools.comfyui.server import REPOSITORY, SHIM, comfyui_folder


def found_by(script: str, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """FOLDER/found.safetensors and found.json of `script`, which gets FOLDER. Fails with the end of what it printed."""
    paths = os.pathsep.join([str(SHIM), str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    answer = subprocess.run(
        [os.environ.get("COMFYUI_PYTHON") or sys.executable, str(Path(__file__).with_name(script)), str(folder)],
        cwd=comfyui_folder(), env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-4000:]
    # A VAE that ComfyUI has not recognised decodes noise, and ComfyUI only logs it.
    assert "No VAE weights" not in answer.stderr
    return load_file(folder / "found.safetensors"), json.loads((folder / "found.json").read_text(encoding="utf-8"))
