"""The prompts of Velocity Erase Fine-tune: made in several ways, wired from any node that gives text, kept in the file."""

from __future__ import annotations

from typing import Any

import pytest

from t2vu_core.erasure import Erasure
from tests.nodes.graphs import erase, load, node, refusal, sample
from tools.comfyui import ComfyServer, queue
from tools.comfyui.client import Graph


def test_prompts_from_another_node_are_trained_on_with_those_of_the_grammar(comfy: ComfyServer) -> None:
    graph: Graph = {
        "load": load(),
        "text": node("PrimitiveStringMultiline", value="a ghost in my garden\n\nmy ghost waves"),
        "erase": erase(steps=1, seed=17, augmentation="grammar", concept_prompts=["text", 0]),
        "save": node("T2VUSaveErasure", erasure=["erase", 0], name="with_prompts", overwrite=True),
    }
    result = queue(comfy.url, graph)
    assert result.succeeded, result.error
    used = Erasure.load(comfy.base / "output" / "erasures" / "with_prompts.safetensors")
    assert used.recipe["augmentation"] == "grammar"
    assert [prompt for prompt, _ in used.prompts["pairs"][:2]] == ["a ghost in my garden", "my ghost waves"]
    assert used.prompts["sources"]["own"] == 2
    assert used.prompts["sources"]["grammar"] > 2


@pytest.mark.parametrize("changes", [{"language_model": "nobody"}, {"augmentation": "poems"}])
def test_a_way_that_was_not_offered_is_refused(comfy: ComfyServer, changes: dict[str, Any]) -> None:
    graph: Graph = {"load": load(), "erase": erase(**changes), "loss": node("PreviewImage", images=["erase", 1])}
    assert next(iter(changes.values())) in refusal(comfy, graph)


def test_comfyuis_log_is_not_filled_by_the_libraries(comfy: ComfyServer) -> None:
    """Loaded again (in another precision) and asked for more than the encoder reads: neither bars nor warnings."""
    before = comfy.log.stat().st_size
    loaded = load()
    loaded["inputs"]["dtype"] = "bfloat16"
    graph: Graph = {
        "load": loaded,
        "sample": sample(prompt="a ghost under a starry night " * 100, steps=1),
        "frames": node("PreviewImage", images=["sample", 0]),
    }
    result = queue(comfy.url, graph)
    assert result.succeeded, result.error
    with comfy.log.open(encoding="utf-8", errors="replace") as file:
        file.seek(before)
        written = file.read()
    assert "got prompt" in written
    assert [phrase for phrase in ("Loading", "truncated", "longer than", "Warning") if phrase in written] == []
