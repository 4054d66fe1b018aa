"""Wrong input: one clear sentence, nothing half-written, and a server that goes on working."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from t2vu_core.erasure import Erasure
from t2vu_core.miniature.bundled import bundled_folder
from tests.nodes.graphs import apply, erase, load, node, refusal, sampled
from tools.comfyui import ComfyServer, queue
from tools.comfyui.client import Graph

NAN = float("nan")


@pytest.fixture(autouse=True)
def nothing_is_written_and_the_server_goes_on(comfy: ComfyServer) -> Iterator[None]:
    """Around every test here: the same erasure files as before, and a graph that still runs."""
    before = _erasure_files(comfy)
    yield
    assert _erasure_files(comfy) == before
    assert queue(comfy.url, sampled(seed=1, steps=1)).succeeded


def _erasure_files(comfy: ComfyServer) -> set[Path]:
    return {path for path in comfy.base.rglob("*") if "erasures" in path.parts and path.is_file()}


def _saving(eraser_name: str, name: str) -> Graph:
    file = node("T2VULoadErasure", file=eraser_name)
    return {"file": file, "save": node("T2VUSaveErasure", erasure=["file", 0], name=name, overwrite=False)}


def _applying(eraser_name: str, **changes: object) -> Graph:
    return {**sampled("apply"), "file": node("T2VULoadErasure", file=eraser_name), "apply": apply("file", **changes)}


@pytest.mark.parametrize("concept", ["", "   "])
def test_an_empty_concept_is_refused_before_anything_is_trained(comfy: ComfyServer, concept: str) -> None:
    graph: Graph = {
        "load": load(),
        "erase": erase(concept=concept),
        "save": node("T2VUSaveErasure", erasure=["erase", 0], name="x", overwrite=False),
    }
    assert "The concept is empty" in refusal(comfy, graph)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 50}, "multiples of"),
        ({"width": 4096, "height": 4096, "frames": 1000}, "too large"),
        ({"height": 96}, "trained for clips up to"),
        ({"steps": -1}, "steps"),
        ({"guidance": NAN}, "guidance"),
    ],
)
def test_a_clip_that_cannot_be_made_is_refused_with_what_can(comfy: ComfyServer, changes: dict[str, object], said: str) -> None:
    assert said in refusal(comfy, sampled(**changes))


@pytest.mark.parametrize("name", ["nonsense", "../miniature", "/etc", ""])
def test_an_unknown_model_is_named_with_those_that_exist(comfy: ComfyServer, name: str) -> None:
    graph = sampled()
    graph["load"]["inputs"]["model"] = name
    said = refusal(comfy, graph)
    assert repr(name) in said
    assert "miniature" in said


def test_an_unknown_preset_is_refused(comfy: ComfyServer) -> None:
    graph: Graph = {"load": load(), "erase": erase(preset="heroic"), "loss": node("PreviewImage", images=["erase", 1])}
    assert "heroic" in refusal(comfy, graph)


@pytest.mark.parametrize("strength", [NAN, float("inf"), -1])
def test_a_strength_that_is_not_a_number_is_refused(comfy: ComfyServer, eraser_name: str, strength: float) -> None:
    assert "strength" in refusal(comfy, _applying(eraser_name, strength=strength))


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/../../../evil", "..", ".hidden", "folder/", "\0"])
def test_an_erasure_is_never_saved_outside_its_folder(comfy: ComfyServer, eraser_name: str, name: str) -> None:
    assert "give a name such as" in refusal(comfy, _saving(eraser_name, name))
    assert not list(comfy.base.parent.rglob("evil*.safetensors"))
    assert not Path("/tmp/evil.safetensors").exists()


def test_a_link_that_leads_outside_is_not_followed(comfy: ComfyServer, eraser_name: str, tmp_path: Path) -> None:
    link = comfy.base / "output" / "erasures" / "link"
    link.symlink_to(tmp_path, target_is_directory=True)
    try:
        assert "leads outside" in refusal(comfy, _saving(eraser_name, "link/evil"))
    finally:
        link.unlink()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(comfy: ComfyServer, eraser_name: str) -> None:
    assert "Cannot write to" in refusal(comfy, _saving(eraser_name, f"{eraser_name}/below"))


@pytest.mark.parametrize("file", ["../../../etc/passwd", "/etc/passwd", "missing.safetensors", "../comfyui.log"])
def test_no_file_outside_the_folders_is_read(comfy: ComfyServer, file: str) -> None:
    graph = _applying(file)
    said = refusal(comfy, graph)
    assert repr(file) in said
    assert "root:" not in said


def test_an_eraser_for_another_base_is_refused_and_can_be_allowed(comfy: ComfyServer, eraser_name: str) -> None:
    folder = comfy.base / "output" / "erasures"
    own = Erasure.load(folder / eraser_name)
    other = dataclasses.replace(own, base=dataclasses.replace(own.base, name="another", hash="0" * 64))
    file = other.save(folder / "other_base.safetensors")
    try:
        said = refusal(comfy, _applying(file.name))
        assert "trained on another" in said
        assert "miniature" in said
        assert queue(comfy.url, _applying(file.name, allow_other_base=True)).succeeded
    finally:
        file.unlink()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "not a readable safetensors file"), (b"\xff" * 64, "not a readable safetensors file"), (None, "not an erasure")],
    ids=["empty", "noise", "other tensors"],
)
def test_a_file_that_is_not_an_erasure_is_refused(comfy: ComfyServer, content: bytes | None, said: str) -> None:
    file = comfy.base / "models" / "erasures" / "strange.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        save_file({"weight": torch.zeros(2)}, file)
    else:
        file.write_bytes(content)
    try:
        assert said in refusal(comfy, _applying(file.name))
    finally:
        file.unlink()


def test_a_wrong_wire_is_refused_before_it_runs(comfy: ComfyServer, eraser_name: str) -> None:
    graph = sampled("file")
    graph["file"] = node("T2VULoadErasure", file=eraser_name)
    assert "return_type_mismatch" in refusal(comfy, graph)


def test_one_broken_model_folder_does_not_hide_the_others(comfy: ComfyServer) -> None:
    broken = comfy.base / "models" / "t2v" / "broken" / "model_index.json"
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_text("{", encoding="utf-8")
    try:
        options = comfy.get("/object_info/T2VULoadModel")["T2VULoadModel"]["input"]["required"]["model"][1]["options"]
        assert "miniature" in options
        assert "broken" not in options
    finally:
        broken.unlink()


def test_a_model_folder_that_lacks_a_part_is_refused_by_the_name_of_that_part(comfy: ComfyServer) -> None:
    folder = comfy.base / "models" / "t2v" / "partial"
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "model_index.json"
    index.write_text('{"_class_name": "CogVideoXPipeline", "vae": ["diffusers", "AutoencoderKLCogVideoX"]}', encoding="utf-8")
    graph = sampled()
    graph["load"]["inputs"]["model"] = "partial"
    try:
        assert "vae is missing" in refusal(comfy, graph)
    finally:
        index.unlink()


def test_a_tokenizer_that_panics_does_not_end_the_queue(comfy: ComfyServer) -> None:
    folder = comfy.base / "models" / "t2v" / "panics"
    shutil.copytree(bundled_folder("miniature"), folder)
    try:
        tokenizer = folder / "tokenizer" / "tokenizer.json"
        content = json.loads(tokenizer.read_text(encoding="utf-8"))
        endless = {"type": "Replace", "pattern": {"Regex": "^(([a-z ])+.)+[A-Z]([a-z])+$"}, "content": ""}
        tokenizer.write_text(json.dumps({**content, "normalizer": endless}), encoding="utf-8")
        graph = sampled(prompt="a" * 60 + "!", steps=1)
        graph["load"]["inputs"]["model"] = "panics"
        assert "A library failed on this text" in refusal(comfy, graph)
    finally:
        shutil.rmtree(folder)
