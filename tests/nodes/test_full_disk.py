"""No space left under a node: one sentence, nothing half-written, and a server that goes on."""

from __future__ import annotations

from tests.core.full_disk import left, small_disk
from tests.nodes.graphs import node, refusal, sampled
from tools.comfyui import ComfyServer, queue
from tools.comfyui.client import Graph

FULL = "No space left on device"


def test_save_erasure_says_that_the_disk_is_full(comfy: ComfyServer, eraser_name: str) -> None:
    graph: Graph = {
        "file": node("T2VULoadErasure", file=eraser_name),
        "save": node("T2VUSaveErasure", erasure=["file", 0], name="full/ghost", overwrite=True),
    }
    with small_disk(comfy.base / "output" / "erasures" / "full") as folder:
        said = refusal(comfy, graph)
        assert FULL in said
        assert "Nothing was left there" in said
        assert left(folder) == []
    assert queue(comfy.url, sampled(seed=1, steps=1)).succeeded
