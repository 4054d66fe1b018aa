"""Erasers that are trained once for all node tests."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from t2vu_core import VelocityRecipe, erase_velocity, load_model
from tests.nodes.graphs import apply, erase, frames_of, load, node, sample
from tools.comfyui import ComfyServer, Result, queue


@dataclass(frozen=True)
class Trained:
    """A saved eraser of the ghost, and the run that trained it, which also sampled with it at strength 3."""

    name: str
    result: Result


@pytest.fixture(scope="session")
def trained(comfy: ComfyServer) -> Trained:
    graph = {
        "load": load(),
        "erase": erase(steps=2, eta=5.0, learning_rate=0.004, num_frames=0, neutral_check="auto"),
        "save": node("T2VUSaveErasure", erasure=["erase", 0], name="styles/shared", overwrite=True),
        "loss": node("SaveImage", images=["erase", 1], filename_prefix="loss"),
        "mask": node("SaveImage", images=["erase", 2], filename_prefix="mask"),
        "apply": apply("erase", strength=3.0),
        "sample": sample("apply"),
        "frames": frames_of("sample"),
    }
    result = queue(comfy.url, graph)
    assert result.succeeded, result.error
    return Trained("styles/shared.safetensors", result)


@pytest.fixture(scope="session")
def eraser_name(comfy: ComfyServer) -> str:
    """An eraser of the ghost as Load Erasure offers it, trained outside ComfyUI on few trajectories: a tenth of the time."""
    few = {"concept_trajectories": 4, "preserve_trajectories": 4, "num_frames": 1}
    recipe = VelocityRecipe.preset("quick", steps=2, eta=5.0, learning_rate=0.004, **few)
    folder = comfy.base / "output" / "erasures"
    eraser = erase_velocity(load_model("miniature", device="cpu"), "ghost", recipe)
    return str(eraser.save(folder / "styles" / "of_few.safetensors").relative_to(folder))
