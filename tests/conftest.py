"""What all tests share: one real ComfyUI for the whole run, markers by folder, and which process takes which tests."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tools.comfyui import ComfyServer
from tools.comfyui.server import comfyui_folder

FOLDER_MARKERS = {"nodes": ["comfy"], "browser": ["comfy", "browser"]}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Markers by folder. The files that take long begin first: at the end, no process waits for one of them."""
    long = {item.path for item in items if item.path.parent.name in FOLDER_MARKERS or item.get_closest_marker("slow")}
    for item in items:
        for marker in FOLDER_MARKERS.get(item.path.parent.name, []):
            item.add_marker(marker)
    items.sort(key=lambda item: 0 if asks_for_the_server(item.path) else 1 if item.path in long else 2)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile`, one process also takes all files that ask for the server, which so starts once.

    Not by `--dist loadgroup`: pytest-xdist 3.8 sets a name of each test that pytest 9.2 does not read, and groups nothing.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFileAndServer(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "comfy" if asks_for_the_server(config.rootpath / file) else file

    return ByFileAndServer(config, log)


@cache
def asks_for_the_server(file: Path) -> bool:
    """Whether a test in the file has the fixture `comfy`; the process that distributes the tests knows only their names."""
    return "comfy: ComfyServer" in file.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A running ComfyUI with the pack. Shared, because a start takes ten seconds: use names of your own."""
    if not (comfyui_folder() / "main.py").is_file():
        pytest.fail("There is no ComfyUI to test in. Run ./run setup, or set COMFYUI_DIR.")
    base: Path = tmp_path_factory.mktemp("comfyui")
    with ComfyServer(base) as server:
        yield server
