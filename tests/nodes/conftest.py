"""An eraser that is trained once for all node tests."""

from __future__ import annotations

import pytest

from tests.nodes.graphs import erase, load, node
from tools.comfyui import ComfyServer, queue


@pytest.fixture(scope="session")
def eraser_name(comfy: ComfyServer) -> str:
    """The name of a saved eraser of the ghost, as Load Erasure offers it."""
    graph = {
        "load": load(),
        "erase": erase(),
        "save": node("T2VUSaveErasure", erasure=["erase", 0], name="shared", overwrite=True),
    }
    result = queue(comfy.url, graph)
    assert result.succeeded, result.error
    return "shared.safetensors"
