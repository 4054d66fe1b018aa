"""What all tests share: one real ComfyUI for the whole run, and markers by folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.comfyui import ComfyServer
from tools.comfyui.server import comfyui_folder

FOLDER_MARKERS = {"nodes": ["comfy"], "browser": ["comfy", "browser"]}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Markers by folder. Of two processes, one takes all tests that need the server, which so starts once."""
    for item in items:
        group = "comfy" if item.path.parent.name in FOLDER_MARKERS else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
        for marker in FOLDER_MARKERS.get(item.path.parent.name, []):
            item.add_marker(marker)


@pytest.fixture(scope="session")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A running ComfyUI with the pack. Shared, because a start takes ten seconds: use names of your own."""
    if not (comfyui_folder() / "main.py").is_file():
        pytest.fail("There is no ComfyUI to test in. Run ./run setup, or set COMFYUI_DIR.")
    base: Path = tmp_path_factory.mktemp("comfyui")
    with ComfyServer(base) as server:
        yield server
