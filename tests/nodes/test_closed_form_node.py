"""Closed-Form Erase in a graph: what takes the concept's place, and the eraser that it makes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.nodes.graphs import apply, before_and_after, load, node, pixels
from tools.comfyui import ComfyServer, Result, queue
from tools.comfyui.client import Graph


@pytest.fixture(scope="module")
def computed(comfy: ComfyServer) -> Result:
    graph: Graph = {
        "load": load(),
        "erase": node("T2VUClosedFormErase", model=["load", 0], concept="ghost", seed=0),
        "neutral": node("SaveImage", images=["erase", 2], filename_prefix="closed_form_neutral"),
        "plan": node("PreviewAny", source=["erase", 1]),
        "apply": apply("erase", strength=1.0),
        **before_and_after(),
    }
    result = queue(comfy.url, graph)
    assert result.succeeded, result.error
    return result


def test_its_eraser_changes_what_is_sampled(comfy: ComfyServer, computed: Result) -> None:
    assert not np.array_equal(pixels(comfy, computed, "frames before"), pixels(comfy, computed, "frames after"))


def test_it_shows_what_takes_the_place_of_the_concept(comfy: ComfyServer, computed: Result) -> None:
    assert pixels(comfy, computed, "neutral").shape == (1, 4 * 32, 3 * 32, 3)
    plan, words = computed.outputs["plan"]["text"][0], computed.outputs["erase"]["text"][0]
    for text in (plan, words):
        assert "The model draws 'an empty scene' without 'ghost'." in text
    assert computed.outputs["erase"]["images"], "the clips are not shown under the node"
