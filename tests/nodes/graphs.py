"""Small graphs in API format, and what a person would see of their results."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from PIL import Image

from tools.comfyui import ComfyServer, Rejected, Result, queue
from tools.comfyui.client import Graph

MODEL = "miniature"
PROMPT = "a ghost moving left under a starry night"


def node(kind: str, /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def load() -> dict[str, Any]:
    return node("T2VULoadModel", model=MODEL, dtype="float32")


def erase(**changes: Any) -> dict[str, Any]:
    """A training run of one step on clips of one frame: enough to give an eraser that changes something."""
    short = {"steps": 1, "num_frames": 1, "neutral_check": "off"}
    return node(
        "T2VUVelocityErase", **{"model": ["load", 0], "concept": "ghost", "preset": "quick", "seed": 0} | short | changes
    )


def apply(eraser: str, **changes: Any) -> dict[str, Any]:
    return node("T2VUApplyEraser", **{"model": ["load", 0], "eraser": [eraser, 0], "strength": 1.0} | changes)


def sample(model: str = "load", **changes: Any) -> dict[str, Any]:
    """Four steps show the same as twenty-five do, where only sameness matters."""
    return node("T2VUSampleVideo", **{"model": [model, 0], "prompt": PROMPT, "seed": 5, "steps": 4} | changes)


def frames_of(source: str) -> dict[str, Any]:
    return node("SaveImage", images=[source, 0], filename_prefix="frames")


def sampled(model: str = "load", **changes: Any) -> Graph:
    """Load, sample, save the frames."""
    return {"load": load(), "sample": sample(model, **changes), "frames": frames_of("sample")}


def before_and_after() -> Graph:
    """The same clip of the nodes `load` and `apply`, saved as `frames before` and `frames after`."""
    return {
        "before": sample("load"),
        "after": sample("apply"),
        "frames before": frames_of("before"),
        "frames after": frames_of("after"),
    }


def pixels(server: ComfyServer, result: Result, key: str = "frames") -> np.ndarray:
    """What a node has saved, (F, H, W, 3) uint8."""
    assert result.succeeded, result.error
    assert not result.node_errors
    return np.stack([np.array(Image.open(server.file(item)).convert("RGB")) for item in result.files(key)])


def refusal(server: ComfyServer, graph: Graph) -> str:
    """What ComfyUI says of a graph that must not run, before it runs or at the node."""
    try:
        result = queue(server.url, graph)
    except Rejected as rejected:
        return json.dumps(rejected.answer)
    if result.node_errors:
        return json.dumps(result.node_errors)
    assert result.error is not None, "the graph ran, although it must be refused"
    return result.error
