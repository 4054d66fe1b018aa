"""The templates as a person sees them: few nodes, readable where they fit the screen, and no wire behind a node."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
import torch

from tools.chinese import LOCALE, NOTES, templates
from tools.comfyui.server import REPOSITORY
from tools.demo_picture import BADGE, CARD_BAR, PAPER, card
from tools.thumbnails import BUNDLED, NAMED, STOCK

MENUS = (110, 140)
"""What the menus at the edges of a browser window take."""
READABLE = 0.575
"""The least zoom. Below 0.571 LiteGraph draws boxes in place of text, because text of 14 pixels is under 8."""
TITLE, SLOT = 30, 20
FILES = sorted((REPOSITORY / "example_workflows").glob("*.json"))
NAMES = [path.stem for path in FILES]
Point = tuple[float, float]


def _graph(name: str) -> dict[str, Any]:
    return json.loads((REPOSITORY / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))


def _box(node: dict[str, Any]) -> tuple[float, float, float, float]:
    """Left, top with the title, right, bottom."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def _curve(start: Point, end: Point) -> list[Point]:
    """The spline that LiteGraph draws from an output to an input."""
    reach = 0.25 * ((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2) ** 0.5
    points = [start, (start[0] + reach, start[1]), (end[0] - reach, end[1]), end]
    weights = [((1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3) for t in (i / 100 for i in range(101))]
    return [(sum(w * p[0] for w, p in zip(row, points, strict=True)), sum(w * p[1] for w, p in zip(row, points, strict=True)))
            for row in weights]  # fmt: skip


def _hidden(graph: dict[str, Any]) -> list[str]:
    """The wires that pass behind a node, with the node's type."""
    nodes, found = {node["id"]: node for node in graph["nodes"]}, []
    for _, source, out, target, into, _ in graph["links"]:
        (x, y), (width, _) = nodes[source]["pos"], nodes[source]["size"]
        left, top = nodes[target]["pos"]
        curve = _curve((x + width, y + (out + 0.7) * SLOT), (left, top + (into + 0.7) * SLOT))
        for node in graph["nodes"]:
            box = _box(node)
            if any(box[0] + 1 < px < box[2] - 1 and box[1] < py < box[3] for px, py in curve):
                found.append(f"{nodes[source]['type']} -> {nodes[target]['type']} behind {node['type']}")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_no_wire_passes_behind_a_node_and_no_node_lies_on_another(name: str) -> None:
    graph = _graph(name)
    assert _hidden(graph) == []
    boxes = [(node["type"], _box(node)) for node in graph["nodes"]]
    for number, (kind, one) in enumerate(boxes):
        for other, two in boxes[number + 1 :]:
            assert one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1], f"{kind} and {other}"


def test_a_wire_behind_a_node_is_found() -> None:
    graph = _graph("erase_a_concept")
    by_type = {node["type"]: node for node in graph["nodes"]}
    by_type["T2VUVelocityErase"]["pos"][1] = by_type["T2VULoadModel"]["pos"][1]
    assert "T2VULoadModel -> T2VUCompare behind T2VUVelocityErase" in _hidden(graph)


@pytest.mark.parametrize(
    ("name", "screen"),
    [(name, screen) for name in NAMES for screen in ((1600, 1000), (1280, 800))],
)
def test_the_graph_can_be_read_where_it_fits_the_screen(name: str, screen: tuple[int, int]) -> None:
    boxes = [_box(node) for node in _graph(name)["nodes"]]
    size = [max(box[side + 2] for box in boxes) - min(box[side] for box in boxes) for side in (0, 1)]
    assert min((screen[side] - MENUS[side]) / size[side] for side in (0, 1)) >= READABLE


def test_erasing_a_concept_takes_at_most_six_nodes() -> None:
    assert len(_graph("erase_a_concept")["nodes"]) <= 6


@pytest.mark.parametrize("name", NAMES)
def test_every_title_and_every_paragraph_of_a_note_is_translated(name: str) -> None:
    """A text that is not a key of the table stays English in the Chinese template."""
    words = json.loads((LOCALE / "templates.json").read_text(encoding="utf-8"))
    nodes = _graph(name)["nodes"]
    notes = [node["widgets_values"][0] for node in nodes if node["type"] in NOTES]
    paragraphs = [text.strip() for note in notes for text in note.split("\n\n")]
    assert paragraphs
    assert [text for text in paragraphs if not words.get(text)] == []
    assert [node["title"] for node in nodes if "title" in node and not words.get(node["title"])] == []


def test_the_chinese_templates_are_those_that_the_tool_writes() -> None:
    assert [path.name for path, text in templates().items() if path.read_text(encoding="utf-8") != text] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_manager_can_name_the_pack_of_every_node(name: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for node in _graph(name)["nodes"]:
        if node["type"].startswith("T2VU"):
            assert node["properties"]["cnr_id"] == project["name"]
            assert node["properties"]["ver"] == project["version"]


@pytest.mark.parametrize("name", NAMES)
def test_stock_clients_find_the_codec_of_the_api_file(name: str) -> None:
    """`comfy run` of comfy-cli asks for `format.codec`, ComfyUI before 0.4 for `codec`."""
    graph = json.loads((REPOSITORY / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    saved = [node["inputs"] for node in graph.values() if node["class_type"] == "SaveVideo"]
    assert saved or any(node["class_type"] == "SaveImage" for node in graph.values())
    assert all(inputs["codec"] == inputs["format.codec"] == "h264" for inputs in saved)


@pytest.mark.parametrize("title", [*(f"{title}{BUNDLED}" for title in NAMED.values()), STOCK])
def test_the_title_of_a_thumbnail_stays_clear_of_the_badge(title: str) -> None:
    clip = torch.rand(1, 3, 8, 8)
    (frame,) = card({"before": (clip, clip), "after": (clip, clip)}, title)
    assert frame.crop((0, 0, BADGE, CARD_BAR - 1)).getcolors() == [(BADGE * (CARD_BAR - 1), PAPER)]
