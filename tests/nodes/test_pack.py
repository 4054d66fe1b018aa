"""The pack as ComfyUI sees it: nodes, help pages, templates, translations."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tools.comfyui import ComfyServer
from tools.comfyui.server import PACK, REPOSITORY

DISPLAY_NAMES = {
    "T2VULoadModel": "Load T2V Model",
    "T2VUFromComfyUI": "T2V Model from ComfyUI",
    "T2VULoadMiniatureNative": "Load Miniature (MODEL, CLIP, VAE, LATENT)",
    "T2VUImageModelFromComfyUI": "Image Model from ComfyUI",
    "T2VUFewShotUnlearn": "Few-Shot Unlearn Encoder",
    "T2VUApplyEncoder": "Apply Unlearned Encoder",
    "T2VUApplyEncoderClip": "Apply Unlearned Encoder (CLIP)",
    "T2VULoadEncoder": "Load Unlearned Encoder",
    "T2VUVelocityErase": "Velocity Erase Fine-tune",
    "T2VUClosedFormErase": "Closed-Form Erase",
    "T2VUApplyEraser": "Apply Eraser",
    "T2VUApplyEraserNative": "Apply Eraser (MODEL)",
    "T2VUSampleVideo": "Sample Video",
    "T2VUCompare": "Compare Before and After",
    "T2VUSaveErasure": "Save Erasure",
    "T2VULoadErasure": "Load Erasure",
    "T2VUExportLora": "Export LoRA",
    "T2VUExportEncoder": "Export Unlearned Encoder",
    "T2VUEvaluateErasure": "Evaluate Erasure",
    "T2VUGuard": "Guard",
}
# The first name that ComfyUI looks for. It serves templates from one folder only, and `examples` would come before `workflows`.
TEMPLATES = sorted(path.stem for path in (REPOSITORY / "example_workflows").glob("*.json"))


def _read(comfy: ComfyServer, path: str) -> str:
    with urllib.request.urlopen(comfy.url + path, timeout=30) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize(("node_id", "title"), DISPLAY_NAMES.items())
def test_the_node_menu_offers_every_node_under_its_name(comfy: ComfyServer, node_id: str, title: str) -> None:
    declared = comfy.get(f"/object_info/{node_id}")[node_id]
    assert declared["display_name"] == title
    assert declared["category"] == "T2V Unlearning"
    assert declared["description"]


@pytest.mark.parametrize("node_id", DISPLAY_NAMES)
def test_every_input_and_output_explains_itself(comfy: ComfyServer, node_id: str) -> None:
    declared = comfy.get(f"/object_info/{node_id}")[node_id]
    inputs = {**declared["input"]["required"], **declared["input"].get("optional", {})}
    assert [name for name, (_, options) in inputs.items() if not options.get("tooltip")] == []
    assert all(declared["output_tooltips"])
    assert not [name for name in declared["output_name"] if name.startswith("T2VU_")]


@pytest.mark.parametrize("node_id", DISPLAY_NAMES)
def test_the_help_panel_has_a_page_that_names_every_input(comfy: ComfyServer, node_id: str) -> None:
    page = _read(comfy, f"/extensions/{PACK}/docs/{node_id}.md")
    declared = comfy.get(f"/object_info/{node_id}")[node_id]
    names = [*declared["input"]["required"], *declared["input"].get("optional", {}), *declared["output_name"]]
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_template_browser_offers_the_graph_and_all_its_nodes_exist(comfy: ComfyServer, name: str) -> None:
    assert name in comfy.get("/workflow_templates")[PACK]
    graph = json.loads(_read(comfy, f"/api/workflow_templates/{PACK}/{name}.json"))
    drawn_by_the_frontend = {"MarkdownNote", "Note", "Reroute"}
    used = {entry["type"] for entry in graph["nodes"]} - drawn_by_the_frontend
    assert used <= set(comfy.get("/object_info"))
    queued = json.loads((REPOSITORY / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    assert {entry["class_type"] for entry in queued.values()} == used


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_template_browser_has_a_thumbnail(name: str) -> None:
    assert (REPOSITORY / "example_workflows" / f"{name}.jpg").is_file()


def test_the_translations_name_nodes_and_inputs_that_exist(comfy: ComfyServer) -> None:
    for language, texts in comfy.get("/i18n").items():
        for node_id, translated in texts.get("nodeDefs", {}).items():
            if node_id not in DISPLAY_NAMES:
                continue
            declared = comfy.get(f"/object_info/{node_id}")[node_id]["input"]
            known = {*declared["required"], *declared.get("optional", {})}
            assert set(translated["inputs"]) == known, f"{language}: {node_id}"
            for name, (_, options) in {**declared["required"], **declared.get("optional", {})}.items():
                # "paper: the published recipe" explains a choice.
                explained = re.findall(r"(?:^|[.;] )([a-z_]+):", options["tooltip"])
                own = translated["inputs"][name]["tooltip"]
                assert [choice for choice in explained if choice in options.get("options", ()) and choice not in own] == []


@pytest.mark.parametrize("word", ["forget", "remove", "censor", "nsfw", "safety", "copyright", "slider", "negative"])
def test_the_search_finds_a_node_for_what_people_type(comfy: ComfyServer, word: str) -> None:
    ours = [node for node_id, node in comfy.get("/object_info").items() if node_id in DISPLAY_NAMES]
    if not any(node.get("search_aliases") for node in ours):
        pytest.skip("this ComfyUI has no search aliases (they came with 0.11)")
    assert [node["display_name"] for node in ours if any(word in alias for alias in node["search_aliases"])]


def test_a_pack_that_was_only_copied_brings_its_own_core(tmp_path: Path) -> None:
    """Without site-packages nothing is installed: the package must come from the folder next to the nodes."""
    script = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("core_package", {str(REPOSITORY / "nodes" / "core_package.py")!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
assert importlib.util.find_spec("t2vu_core") is None
module.provide_core()
import t2vu_core.errors
print(t2vu_core.errors.__file__)
assert importlib.util.find_spec("nodes") is None, "the pack's own folder must not be on the path"
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == REPOSITORY / "t2vu_core" / "errors.py"
