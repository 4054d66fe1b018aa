"""Which process takes which tests, where several run them: without it, each would start a ComfyUI and make every fixture."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tools.comfyui.server import REPOSITORY

HOOKS = "from tests.conftest import pytest_collection_modifyitems, pytest_xdist_make_scheduler"
TESTS = """
import os
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(4))
def test_it(number):
    Path(__file__).with_suffix(f".{number}").write_text(os.environ["PYTEST_XDIST_WORKER"])
"""


def test_a_file_stays_in_one_process_and_so_do_all_files_that_ask_for_the_server(tmp_path: Path) -> None:
    (options,) = re.findall(r"set -- (-n 2 .*)\n", (REPOSITORY / "run").read_text(encoding="utf-8"))
    (tmp_path / "conftest.py").write_text(HOOKS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]", encoding="utf-8")
    for name, asks in {"alone": "", "other": "", "browsing": "# comfy: ComfyServer", "nodes": "# comfy: ComfyServer"}.items():
        (tmp_path / f"test_{name}.py").write_text(TESTS + asks, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", *options.split(), str(tmp_path)]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    took = {name: {file.read_text() for file in tmp_path.glob(f"test_{name}.[0-9]")} for name in ("alone", "other")}
    assert all(len(processes) == 1 for processes in took.values()), took
    server = {file.read_text() for name in ("browsing", "nodes") for file in tmp_path.glob(f"test_{name}.[0-9]")}
    assert len(server) == 1, server
