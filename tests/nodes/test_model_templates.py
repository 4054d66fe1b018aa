"""The templates for real models, checked by ComfyUI against its nodes: only the model files are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.comfyui import ComfyServer, Rejected, queue
from tools.comfyui.server import REPOSITORY
from tools.template_plans import RESULTS, planned

REAL = sorted(path.stem for path in (REPOSITORY / "example_workflows").glob("erase_from_*.json"))
LOADERS = ("UNETLoader", "VAELoader", "CLIPLoader", "DualCLIPLoader", "CheckpointLoaderSimple")


def api(name: str) -> dict[str, Any]:
    graph: dict[str, Any] = json.loads((REPOSITORY / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    return graph


def refusals(comfy: ComfyServer, graph: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What ComfyUI finds wrong, by node."""
    with pytest.raises(Rejected) as rejected:
        queue(comfy.url, graph)
    return {key: node["errors"] for key, node in rejected.value.answer["node_errors"].items()}


@pytest.mark.parametrize("name", REAL)
def test_comfyui_misses_the_model_files_and_nothing_else(comfy: ComfyServer, name: str) -> None:
    graph = api(name)
    found = refusals(comfy, graph)
    assert {graph[key]["class_type"] for key in found} <= set(LOADERS)
    assert {error["type"] for errors in found.values() for error in errors} == {"value_not_in_list"}
    assert set(found) == {key for key, node in graph.items() if node["class_type"] in LOADERS}


def test_the_plan_in_a_note_is_that_of_comfyuis_own_class(tmp_path: Path) -> None:
    """Versions of ComfyUI differ a little in what their classes allocate."""
    name, file = "erase_from_ltx_video", tmp_path / "plans.json"
    noted = json.loads(RESULTS.read_text(encoding="utf-8"))[name]
    assert planned(name, file=file)[name] == pytest.approx(noted, rel=0.05)


def test_a_wrong_input_would_be_found(comfy: ComfyServer) -> None:
    graph = api(REAL[0])
    (sampler,) = [key for key, node in graph.items() if node["class_type"] == "KSampler"]
    del graph[sampler]["inputs"]["positive"]
    assert sampler in refusals(comfy, graph)
