"""Graphs that no interface makes: each is answered by the node in one sentence, and the server goes on working."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from t2vu_core.miniature.bundled import bundled_folder
from tests.nodes.graphs import apply, erase, load, node, refusal, sampled
from tools.comfyui import ComfyServer, queue
from tools.comfyui.client import Graph
from tools.comfyui.server import PACK, REPOSITORY

LINKS = {"T2VU_MODEL", "T2VU_ERASER", "T2VU_ENCODER", "MODEL", "CLIP", "VAE", "LATENT", "CONDITIONING", "IMAGE"}
HALF = "gh\ud800ost"


@pytest.fixture(scope="module", autouse=True)
def the_server_goes_on(comfy: ComfyServer) -> Iterator[None]:
    """After all tests here, a graph still runs."""
    yield
    assert queue(comfy.url, sampled(seed=1, steps=1)).succeeded


def declared(comfy: ComfyServer) -> dict[str, dict[str, Any]]:
    """The pack's nodes as ComfyUI knows them."""
    return {name: each for name, each in comfy.get("/object_info").items() if name.startswith("T2VU")}


def links_of(each: dict[str, Any]) -> list[str]:
    inputs = {**each["input"].get("required", {}), **each["input"].get("optional", {})}
    return [name for name, (kind, *_) in inputs.items() if isinstance(kind, str) and LINKS.issuperset(kind.split(","))]


def defaults_of(each: dict[str, Any]) -> dict[str, Any]:
    """A value for every required widget."""
    values = {}
    for name, (kind, *rest) in each["input"].get("required", {}).items():
        options = rest[0] if rest else {}
        choices = kind if isinstance(kind, list) else options.get("options", [])
        values[name] = options.get("default", choices[0] if choices else None) or ("ghost" if kind == "STRING" else 0)
    return values


@pytest.mark.parametrize("value", ["miniature", 3, True, {}, {"a": 1}, None, {"__value__": [1, 2, 3]}], ids=str)
def test_a_value_in_place_of_a_link_is_answered_by_the_node(comfy: ComfyServer, value: object) -> None:
    checked, others = [], {}
    for name, each in declared(comfy).items():
        links = links_of(each)
        if not links:
            continue
        graph: Graph = {"node": node(name, **{**defaults_of(each), **dict.fromkeys(links, value)})}
        if not each["output_node"]:
            graph["shown"] = node("PreviewAny", source=["node", 0])
        said = refusal(comfy, graph)
        checked.append(name)
        none = value is None and any(
            words in said for words in ("is empty", "There is no erasure to save", "Connect a model, or")
        )
        if "needs a link from an output of type" not in said and not none:
            others[name] = said
    assert others == {}
    assert len(checked) > 10


def judged_by(detector: str) -> Graph:
    made = node("T2VUEvaluateErasure", model=["load", 0], concept="ghost", preset="quick", detector=detector)
    return {"load": load(), "evaluate": made}


TEXTS: dict[str, Graph] = {
    "prompt": sampled(prompt=HALF, steps=1),
    "negative_prompt": sampled(negative_prompt=HALF, steps=1),
    "concept": {"load": load(), "erase": erase(concept=HALF), "loss": node("PreviewImage", images=["erase", 1])},
    "synonyms": {"load": load(), "erase": erase(synonyms=HALF), "loss": node("PreviewImage", images=["erase", 1])},
    "detector": judged_by(HALF),
    "concepts": {**sampled("guard"), "guard": node("T2VUGuard", model=["load", 0], method="negative_prompt", concepts=HALF)},
    "model": {**sampled(), "load": node("T2VULoadModel", model=HALF)},
    "file": {**sampled("apply"), "file": node("T2VULoadErasure", file=HALF), "apply": apply("file")},
}  # fmt: skip


@pytest.mark.parametrize("field", TEXTS)
def test_half_of_a_character_in_a_text_field_is_answered_by_the_node(comfy: ComfyServer, field: str) -> None:
    said = refusal(comfy, TEXTS[field])
    assert "half of a character pair" in said or "There is no" in said
    assert "UnicodeEncodeError" not in said


@pytest.mark.parametrize("name", ["x" * 300, "幽" * 100, "folder/" + "x" * 300, "x" * 300 + "/ghost"])
def test_a_name_that_no_drive_takes_is_answered_by_the_node(comfy: ComfyServer, eraser_name: str, name: str) -> None:
    graph: Graph = {
        "file": node("T2VULoadErasure", file=eraser_name),
        "save": node("T2VUSaveErasure", erasure=["file", 0], name=name, overwrite=False),
    }
    assert "is too long for the name of a file" in refusal(comfy, graph)


@pytest.mark.parametrize(
    "detector", ["clip:/etc", "clip:../../etc", "clip:", "clip:{}", "faces:/etc", "faces:..", "faces:", "faces:.", "faces:{}"]
)
def test_a_detector_of_a_graph_reads_no_folder_outside_comfyuis(comfy: ComfyServer, detector: str) -> None:
    named = detector.format(bundled_folder("miniature"))
    assert "A graph names a folder in" in refusal(comfy, judged_by(named))


def test_a_link_in_the_input_folder_does_not_lead_a_detector_outside(comfy: ComfyServer, tmp_path: Path) -> None:
    link = comfy.base / "input" / "photographs"
    link.symlink_to(tmp_path, target_is_directory=True)
    try:
        graph: Graph = {
            "load": load(),
            "evaluate": node(
                "T2VUEvaluateErasure", model=["load", 0], concept="ghost", preset="quick", detector="faces:photographs"
            ),
        }
        assert "A graph names a folder in ComfyUI's input folder" in refusal(comfy, graph)
    finally:
        link.unlink()


def test_every_node_computes_with_the_inputs_of_an_older_graph(comfy: ComfyServer) -> None:
    """A saved graph lacks the inputs that came later: each of them has a default where the node computes, too."""
    optional = {name: set(each["input"].get("optional", {})) for name, each in declared(comfy).items()}
    found: dict[str, set[str]] = {}
    for file in (REPOSITORY / "nodes").rglob("*.py"):
        for made in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(made, ast.ClassDef):
                found |= {name: needs for name, needs in _needs_of(made).items() if name in optional}
    assert len(found) > 10
    assert {name: needs & optional[name] for name, needs in found.items() if needs & optional[name]} == {}


def _needs_of(made: ast.ClassDef) -> dict[str, set[str]]:
    """The node's id and the arguments of its `execute` that have no default."""
    methods = {part.name: part for part in made.body if isinstance(part, ast.FunctionDef)}
    if not {"define_schema", "execute"} <= set(methods):
        return {}
    keywords = [part for part in ast.walk(methods["define_schema"]) if isinstance(part, ast.keyword)]
    ids = [part.value.value for part in keywords if part.arg == "node_id" and isinstance(part.value, ast.Constant)]
    arguments = methods["execute"].args
    names = [argument.arg for argument in arguments.args]
    return {str(ids[0]): set(names[1 : len(names) - len(arguments.defaults)])} if ids else {}


def test_weights_that_are_only_pickled_are_refused_in_a_graph(comfy: ComfyServer) -> None:
    folder = comfy.base / "models" / "t2v" / "pickled"
    shutil.copytree(str(bundled_folder("miniature")), folder)
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    graph = sampled(steps=1)
    graph["load"]["inputs"]["model"] = "pickled"
    try:
        said = refusal(comfy, graph)
        assert "a pickle, which could run code and is never opened" in said
        assert "use_safetensors" not in said
    finally:
        shutil.rmtree(folder)


def test_a_setting_that_fails_inside_a_pass_is_answered_by_the_node(comfy: ComfyServer) -> None:
    folder = comfy.base / "models" / "t2v" / "unset"
    shutil.copytree(str(bundled_folder("miniature")), folder)
    config = folder / "vae" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "scaling_factor": None}))
    graph = sampled(steps=1)
    graph["load"]["inputs"]["model"] = "unset"
    try:
        said = refusal(comfy, graph)
        assert "cannot be computed" in said
        assert "Its files may not belong together" in said
    finally:
        shutil.rmtree(folder)


def test_a_folder_with_one_precision_only_is_loaded_in_a_graph(comfy: ComfyServer) -> None:
    folder = comfy.base / "models" / "t2v" / "halves"
    shutil.copytree(str(bundled_folder("miniature")), folder)
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file(load_file(weights), weights.with_name("diffusion_pytorch_model.fp16.safetensors"), {"format": "pt"})
    weights.unlink()
    graph = sampled(steps=1)
    graph["load"]["inputs"]["model"] = "halves"
    try:
        assert queue(comfy.url, graph).succeeded
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
def test_other_copies_of_the_pack_are_told_once_and_one_of_them_works(tmp_path: Path) -> None:
    """Slow, because it starts a ComfyUI of its own, which loads the copies in any order."""
    server = ComfyServer(tmp_path)
    server.prepare()
    packs = tmp_path / "custom_nodes"
    other, older, disabled = packs / "z-another-copy", packs / "z-older", packs / "switched-off.disabled"
    other.symlink_to(REPOSITORY, target_is_directory=True)
    older.mkdir()
    (older / "pyproject.toml").write_text('[project]\nname = "t2v-unlearning"\nversion = "0.1.0"\n')
    (older / "__init__.py").write_text(OLDER)
    shutil.copytree(older, disabled)
    with server:
        assert "T2VULoadModel" in server.get("/object_info")
        assert queue(server.url, sampled(seed=1, steps=1)).succeeded
        # web/js/copies.js shows them in the browser.
        assert older.name in server.get("/t2v-unlearning/copies")
    log = server.log.read_text(encoding="utf-8", errors="replace")
    assert log.count("T2V Unlearning is in custom_nodes twice") == 1
    said = next(line for line in log.splitlines() if "is in custom_nodes twice" in line)
    for name in (PACK, other.name, older.name):
        assert str(packs / name) in said
        # Nodes of ComfyUI itself may lack a package here.
        assert f"(IMPORT FAILED): {packs / name}" not in log
    assert disabled.name not in said


OLDER = """
from comfy_api.v0_0_2 import ComfyExtension, io


class Guard(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="T2VUGuard", inputs=[], outputs=[io.Custom("T2VU_MODEL").Output()])

    @classmethod
    def execute(cls):
        return io.NodeOutput(None)


class Older(ComfyExtension):
    async def get_node_list(self):
        return [Guard]


async def comfy_entrypoint():
    return Older()
"""
"""A pack that, like version 0.1, takes a node of ours and looks for no other copy."""
