"""The templates as they are drawn: no node on another, no wire behind a node, and a download for every file that they load."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = sorted(path.stem for path in (REPOSITORY / "example_workflows").glob("erase_from_*.json"))
DRAWN = [*REAL, "erase_native_encoder"]
TITLE, SLOT, FIRST_SLOT = 30, 20, 14
"""Heights in pixels: a node's title, the distance of its slots, the first slot below the title."""
LOADED = ("unet_name", "vae_name", "ckpt_name", "clip_name", "clip_name1", "clip_name2")


def graph(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((REPOSITORY / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
    return read


@dataclass(frozen=True)
class Box:
    """A node with its title."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of(cls, node: dict[str, Any]) -> Box:
        (x, y), (width, height) = node["pos"], node["size"]
        return cls(x, y - TITLE, x + width, y + height)

    def holds(self, x: float, y: float) -> bool:
        return self.left < x < self.right and self.top < y < self.bottom

    def touches(self, other: Box) -> bool:
        return self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom


def wire(graph: dict[str, Any], link: list[Any]) -> list[tuple[float, float]]:
    """Points of the curve that LiteGraph draws between two slots."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    _, source, output, target, slot, _ = link
    (x, y), (width, _) = nodes[source]["pos"], nodes[source]["size"]
    start = (x + width, y + FIRST_SLOT + SLOT * output)
    x, y = nodes[target]["pos"]
    end = (x, y + FIRST_SLOT + SLOT * slot)
    pull = math.dist(start, end) / 4
    across = (start[0], start[0] + pull, end[0] - pull, end[0])
    down = (start[1], start[1], end[1], end[1])
    return [(bezier(across, step / 100), bezier(down, step / 100)) for step in range(2, 99)]


def bezier(points: tuple[float, float, float, float], t: float) -> float:
    a, b, c, d = points
    return a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t**2 * (1 - t) + d * t**3


@pytest.mark.parametrize("name", DRAWN)
def test_no_node_lies_on_another_and_no_wire_behind_one(name: str) -> None:
    drawn = graph(name)
    boxes = {node["id"]: Box.of(node) for node in drawn["nodes"]}
    assert not [pair for pair in itertools.combinations(boxes, 2) if boxes[pair[0]].touches(boxes[pair[1]])]
    behind = [
        (link[0], boxes_id)
        for link in drawn["links"]
        for boxes_id, box in boxes.items()
        if any(box.holds(*point) for point in wire(drawn, link))
    ]
    assert not behind, "link and node"


@pytest.mark.parametrize("name", DRAWN)
def test_groups_hold_whole_nodes(name: str) -> None:
    drawn = graph(name)
    groups = [Box(x, y, x + width, y + height) for x, y, width, height in (group["bounding"] for group in drawn["groups"])]
    for node in drawn["nodes"]:
        box = Box.of(node)
        around = [group for group in groups if group.touches(box)]
        assert len(around) == 1, node["type"]
        assert around[0].left <= box.left, node["type"]
        assert around[0].right >= box.right, node["type"]
        assert around[0].top <= box.top, node["type"]
        assert around[0].bottom >= box.bottom, node["type"]


@pytest.mark.parametrize("name", REAL)
def test_comfyui_can_offer_every_file_that_is_missing(name: str) -> None:
    """The frontend reads name, folder and address from a loader's properties."""
    queued = json.loads((REPOSITORY / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    offered = {model["name"]: model for node in graph(name)["nodes"] for model in node.get("properties", {}).get("models", [])}
    loaded = [value for node in queued.values() for key, value in node["inputs"].items() if key in LOADED]
    assert loaded
    assert sorted(loaded) == sorted(offered)
    for file, model in offered.items():
        assert model["url"].startswith("https://huggingface.co/")
        assert model["url"].endswith(f"/{file}")
        assert model["directory"] in ("diffusion_models", "text_encoders", "vae", "checkpoints")


@pytest.mark.parametrize("name", REAL)
def test_the_note_says_that_the_graph_was_not_run(name: str) -> None:
    (text,) = [node["widgets_values"][0] for node in graph(name)["nodes"] if node["type"] == "MarkdownNote"]
    assert "not run" in text
    assert "not measured here" in text
