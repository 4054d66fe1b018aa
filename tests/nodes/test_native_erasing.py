"""Erasing on ComfyUI's own MODEL, CLIP and VAE in a graph: the shipped workflow, a cancel, and what is refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

from tests.nodes.graphs import frames_of, node, pixels, refusal
from tools.comfyui import ComfyServer, queue
from tools.comfyui.client import Graph
from tools.comfyui.server import REPOSITORY

WORKFLOW: Graph = json.loads((REPOSITORY / "workflows" / "api" / "erase_native.json").read_text(encoding="utf-8"))
SHORT = {"steps": 2, "eta": 5.0, "learning_rate": 0.01}
"""Enough to change the pictures."""


def shipped(precision: str = "fp32", **erase: Any) -> Graph:
    """The shipped graph, with a short training and four sampling steps; the frames are saved."""
    graph = copy.deepcopy(WORKFLOW)
    graph["1"]["inputs"]["precision"] = precision
    graph["2"]["inputs"]["steps"] = 4
    graph["3"]["inputs"] |= SHORT | erase
    for sampler in ("8", "9"):
        graph[sampler]["inputs"]["steps"] = 4
    return graph | {"before": frames_of("10"), "after": frames_of("11")}


@pytest.mark.parametrize("precision", ["fp32", "fp8_scaled"])
def test_the_shipped_graph_erases_on_the_loaded_model(comfy: ComfyServer, precision: str) -> None:
    result = queue(comfy.url, shipped(precision))
    before, after = pixels(comfy, result, "before"), pixels(comfy, result, "after")
    assert before.shape == after.shape == (9, 64, 64, 3)
    assert np.abs(before.astype(int) - after.astype(int)).max() > 8


def test_our_nodes_sample_what_ksampler_samples_in_kind(comfy: ComfyServer) -> None:
    """Sample Video takes the model, with the eraser on it too."""
    graph = {name: entry for name, entry in shipped().items() if name in ("1", "2", "3")}
    graph |= {
        "apply": node("T2VUApplyEraser", model=["2", 0], eraser=["3", 0], strength=1.0),
        "plain": node("T2VUSampleVideo", model=["2", 0], prompt="a ghost moving left", seed=5),
        "erased": node("T2VUSampleVideo", model=["apply", 0], prompt="a ghost moving left", seed=5),
        "before": frames_of("plain"),
        "after": frames_of("erased"),
    }
    result = queue(comfy.url, graph)
    before, after = pixels(comfy, result, "before"), pixels(comfy, result, "after")
    assert before.shape == (9, 64, 64, 3)
    assert np.abs(before.astype(int) - after.astype(int)).max() > 8


def test_a_text_encoder_unlearns_and_fits_the_folder(comfy: ComfyServer) -> None:
    """ComfyUI's T5 has the names, the tokens and the identity of the folder's."""
    graph = {name: entry for name, entry in shipped().items() if name in ("1", "2")}
    few = {"concept": "ghost", "preset": "quick", "seed": 0, "shots": 1, "steps": 1, "image_model": "none"}
    graph |= {
        "folder": node("T2VULoadModel", model="miniature-ltx", dtype="float32"),
        "encoder": node("T2VUFewShotUnlearn", model=["2", 0], **few),
        "apply": node("T2VUApplyEncoder", model=["folder", 0], encoder=["encoder", 0], strength=1.0),
        "sample": node("T2VUSampleVideo", model=["apply", 0], prompt="a ghost moving left", seed=5, steps=2),
        "frames": frames_of("sample"),
    }
    assert pixels(comfy, queue(comfy.url, graph)).shape == (9, 64, 64, 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latent": None}, "The size of the clips is not known"),
        ({"latent": None, "width": 64, "height": 64, "num_frames": 8}, "This VAE cannot make 8 frames"),
        ({"width": 70}, "This VAE cannot make 70 x 64 pixels"),
    ],
)
def test_a_size_that_cannot_be_is_refused(comfy: ComfyServer, changes: dict[str, Any], said: str) -> None:
    graph = {name: entry for name, entry in shipped().items() if name in ("1", "2")}
    inputs = {**graph["2"]["inputs"], **changes}
    graph["2"]["inputs"] = {name: value for name, value in inputs.items() if value is not None}
    graph["clip"] = node("T2VUSampleVideo", model=["2", 0], prompt="a ghost", seed=1)
    graph["frames"] = frames_of("clip")
    assert said in refusal(comfy, graph)
