"""Graphs of version 0.1 run: every node, input, choice and output that they name is still there, in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from t2vu_core.erasure import Erasure
from t2vu_core.recipes import VelocityRecipe
from tools.comfyui import ComfyServer, queue

DATA = Path(__file__).parents[1] / "data" / "v0_1"
NODES: dict[str, dict[str, Any]] = json.loads((DATA / "nodes.json").read_text(encoding="utf-8"))
WIDGETS = {"STRING", "INT", "FLOAT", "BOOLEAN", "COMBO"}
WHAT_TO_DO = "docs/compatibility.md says how inputs may change"


def inputs_of(declared: dict[str, Any], group: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Type and options by name; older ComfyUI gives a combo's choices as its type."""
    found = {}
    for name, (kind, *rest) in declared["input"].get(group, {}).items():
        options = rest[0] if rest else {}
        found[name] = (kind, options) if isinstance(kind, str) else ("COMBO", {**options, "options": kind})
    return found


@pytest.mark.parametrize("node_id", NODES)
def test_a_node_of_0_1_still_takes_what_a_saved_graph_gives_it(comfy: ComfyServer, node_id: str) -> None:
    old, declared = NODES[node_id], comfy.get(f"/object_info/{node_id}")[node_id]
    required, optional = inputs_of(declared, "required"), inputs_of(declared, "optional")
    known = {**required, **optional}
    assert {row["name"]: row["type"] for row in old["inputs"]} == {
        row["name"]: known[row["name"]][0] for row in old["inputs"] if row["name"] in known
    }, WHAT_TO_DO
    assert set(required) <= {row["name"] for row in old["inputs"] if row["required"]}, "a saved graph lacks new inputs"
    for row in old["inputs"]:
        assert set(row.get("options", ())) <= set(known[row["name"]][1].get("options", ())), row["name"]


@pytest.mark.parametrize("node_id", NODES)
def test_the_widgets_and_outputs_of_0_1_stand_where_they_stood(comfy: ComfyServer, node_id: str) -> None:
    """The frontend saves values of widgets and links of outputs by position, not by name."""
    old, declared = NODES[node_id], comfy.get(f"/object_info/{node_id}")[node_id]
    known = {**inputs_of(declared, "required"), **inputs_of(declared, "optional")}
    then = [row["name"] for row in old["inputs"] if row["type"] in WIDGETS]
    now = [name for name, (kind, _) in known.items() if kind in WIDGETS]
    assert now[: len(then)] == then, WHAT_TO_DO
    kinds = [kind for kind, _ in old["outputs"]]
    assert declared["output"][: len(kinds)] == kinds, WHAT_TO_DO


@pytest.mark.slow
def test_a_graph_of_0_1_trains_with_the_settings_that_it_had(comfy: ComfyServer) -> None:
    """Every 0 in the graph stood for the preset's own. Slow, because it computes the preset's own trajectories."""
    graph = json.loads((DATA / "workflows" / "api" / "erase_a_concept.json").read_text(encoding="utf-8"))
    saved = {key: node for key, node in graph.items() if key in ("2", "3", "5")}
    saved["3"]["inputs"]["steps"] = 1
    saved["5"]["inputs"]["name"] = "from_0_1"
    result = queue(comfy.url, saved)
    assert result.succeeded, result.error
    assert not result.node_errors
    recipe = Erasure.load(comfy.base / "output" / "erasures" / "from_0_1.safetensors").recipe
    of_0_1 = Erasure.load(DATA / "erasures" / "bottleneck.safetensors").recipe
    changed = {"steps", "rank", "concept_trajectories", "preserve_trajectories", "trajectory_steps"}
    assert {name: recipe[name] for name in of_0_1 if name not in changed} == {
        name: value for name, value in of_0_1.items() if name not in changed
    }
    assert recipe["rank"] == VelocityRecipe.preset("quick").rank
