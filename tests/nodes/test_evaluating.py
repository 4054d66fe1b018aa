"""Evaluate Erasure and Guard in a graph: what they return, what they leave, and how they refuse."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2vu_core.guards import GUARDS
from t2vu_core.model import load_model
from tests.nodes.graphs import apply, frames_of, load, node, pixels, refusal, sample
from tools.comfyui import ComfyServer, Result, queue
from tools.comfyui.client import Graph

# The fewest prompts that a verdict can be made of: one to be gone, one to be kept.
PROMPTS = "a ghost under a starry night\n" + json.dumps({"prompt": "a cat", "register": "kept", "concept": "cat"})
CLIP = re.compile(r'<img src="data:image/webp;base64,([^"]+)"')


def evaluate(model: str, **changes: Any) -> dict[str, Any]:
    inputs = {"model": [model, 0], "concept": "ghost", "preset": "quick", "prompts": PROMPTS}
    return node("T2VUEvaluateErasure", **inputs | changes)


def guard(method: str = "negative_prompt", concepts: str = "ghost") -> dict[str, Any]:
    return node("T2VUGuard", model=["load", 0], method=method, concepts=concepts)


def texts_of(source: str, outputs: dict[str, int]) -> Graph:
    """Nodes that show a node's text outputs, by their names."""
    return {name: node("PreviewAny", source=[source, index]) for name, index in outputs.items()}


def text(result: Result, name: str) -> str:
    assert result.succeeded, result.error
    return str(result.outputs[name]["text"][0])


@pytest.fixture(scope="module")
def erased(eraser_name: str) -> Graph:
    """A model with the shared eraser on it, as the node `apply`."""
    return {"load": load(), "file": node("T2VULoadErasure", file=eraser_name), "apply": apply("file")}


@pytest.fixture(scope="module")
def measured(comfy: ComfyServer, erased: Graph) -> Result:
    graph: Graph = {
        **erased,
        "evaluate": evaluate("apply"),
        "save": node("T2VUSaveErasure", erasure=["evaluate", 3], name="measured", overwrite=True),
        **texts_of("evaluate", {"verdict": 0, "scores": 1, "report": 2}),
    }
    return queue(comfy.url, graph)


def test_the_verdict_and_the_scores_are_of_the_prompts_that_were_given(measured: Result) -> None:
    verdict, scores = text(measured, "verdict"), json.loads(text(measured, "scores"))
    assert "clips that ask for 'ghost' show it" in verdict
    assert "shows other concepts" in verdict
    assert scores["concept"] == "ghost"
    assert scores["erased"]["terse"]["clips"] == scores["kept"]["concepts"]["clips"] == 1
    assert scores["erased"]["refined"] is None
    assert [erasure["concepts"] for erasure in scores["settings"]["erasures"]] == [["ghost"]]


def test_the_report_lies_in_the_output_folder_and_its_clips_play(comfy: ComfyServer, measured: Result) -> None:
    report = Path(text(measured, "report"))
    assert report.parent == comfy.base / "output" / "evaluations" / "ghost"
    assert report.match("report-????????.html")
    clips = [Image.open(io.BytesIO(base64.b64decode(clip))) for clip in CLIP.findall(report.read_text(encoding="utf-8"))]
    assert len(clips) == 4, "before and after of two prompts"
    assert {getattr(clip, "n_frames", 1) for clip in clips} == {9}


def test_the_node_says_how_far_it_is_and_then_its_verdict(measured: Result) -> None:
    said = [event.payload.decode(errors="ignore") for event in measured.of("text")]
    assert any("clips 4/4" in line for line in said)
    assert "clips that ask for 'ghost' show it" in measured.outputs["evaluate"]["text"][0]
    steps = [event.data for event in measured.of("progress") if event.data["node"] == "evaluate"]
    assert (steps[-1]["value"], steps[-1]["max"]) == (4, 4)


def test_the_saved_eraser_says_how_well_it_erases(comfy: ComfyServer, measured: Result) -> None:
    assert measured.succeeded, measured.error
    graph: Graph = {"file": node("T2VULoadErasure", file="measured.safetensors"), **texts_of("file", {"shown": 1})}
    shown = text(queue(comfy.url, graph), "shown")
    assert "clips that ask for 'ghost' show it" in shown
    assert "not measured" not in shown


@pytest.mark.parametrize("method", GUARDS)
def test_a_guard_changes_the_clip_and_leaves_the_model_alone(comfy: ComfyServer, method: str) -> None:
    graph: Graph = {
        "load": load(),
        "guard": guard(method),
        "guarded": sample("guard", steps=3),
        "alone": sample("load", steps=3),
        "frames guarded": frames_of("guarded"),
        "frames alone": frames_of("alone"),
    }
    result = queue(comfy.url, graph)
    alone = pixels(comfy, result, "frames alone")
    assert not np.array_equal(pixels(comfy, result, "frames guarded"), alone)
    # Another frame rate makes ComfyUI sample again, from the model that it has kept.
    again = queue(comfy.url, {"load": load(), "again": sample("load", steps=3, fps=7.0), "frames": frames_of("again")})
    assert np.array_equal(pixels(comfy, again), alone)


def test_a_guard_is_measured_as_an_eraser_is(comfy: ComfyServer) -> None:
    measuring = evaluate("guard", guidance=2.0)
    graph: Graph = {"load": load(), "guard": guard(), "evaluate": measuring, **texts_of("evaluate", {"scores": 1})}
    scores = json.loads(text(queue(comfy.url, graph), "scores"))
    assert scores["settings"]["guard"]["name"] == "negative_prompt"
    assert scores["settings"]["guidance_scale"] == 2
    assert scores["settings"]["erasures"] == []


def test_a_model_that_never_knew_the_concept_is_measured_as_well(comfy: ComfyServer) -> None:
    folder = comfy.base / "models" / "t2v" / "without_ghost"
    pipeline = load_model("miniature").family.pipeline
    # Other weights are all that a node can tell; what they have learned is for the person who connects them.
    pipeline.transformer.proj_out.weight.data *= 0.9
    pipeline.save_pretrained(folder)
    graph: Graph = {
        "load": load(),
        "guard": guard(),
        "never": node("T2VULoadModel", model="without_ghost", dtype="float32"),
        "evaluate": evaluate("guard", never_knew=["never", 0]),
        **texts_of("evaluate", {"verdict": 0, "scores": 1, "report": 2}),
    }
    try:
        result = queue(comfy.url, graph)
    finally:
        shutil.rmtree(folder)
    scores = json.loads(text(result, "scores"))
    assert scores["never_knew"]["model"] == "without_ghost"
    assert scores["never_knew"]["erased"]["terse"]["clips"] == 1
    assert "a model that never knew it shows it in" in text(result, "verdict")
    assert "Compared with a model that never knew it" in Path(text(result, "report")).read_text(encoding="utf-8")
    refused = refusal(comfy, {"load": load(), "guard": guard(), "evaluate": evaluate("guard", never_knew=["load", 0])})
    assert "The model that never knew the concept is miniature itself" in refused


def test_what_a_guard_gives_cannot_be_saved_as_an_erasure(comfy: ComfyServer) -> None:
    saving = node("T2VUSaveErasure", erasure=["evaluate", 3], name="nothing", overwrite=False)
    graph: Graph = {"load": load(), "guard": guard(), "evaluate": evaluate("guard"), "save": saving}
    assert "no erasure to save" in refusal(comfy, graph)
    assert not list((comfy.base / "output").rglob("nothing*"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"concept": "unicorn"}, "does not know the concept 'unicorn'"),
        ({"concept": ""}, "The concept is empty"),
        ({"concept": "cat"}, "The erasure is for ghost, not for 'cat'"),
        ({"prompts": '{"prompt": "a ghost"\n'}, "line 1: broken JSON"),
        ({"detector": "oracle"}, "no detector 'oracle'"),
        ({"preset": "heroic"}, "heroic"),
        ({"guidance": -1.0}, "guidance"),
    ],
)
def test_an_evaluation_that_says_nothing_is_refused_in_a_sentence(
    comfy: ComfyServer, erased: Graph, changes: dict[str, Any], said: str
) -> None:
    refused = refusal(comfy, {**erased, "evaluate": evaluate("apply", **changes)})
    assert said in refused
    assert "Traceback" not in refused


@pytest.mark.parametrize(
    ("guarded", "sampled", "said"),
    [
        (guard(concepts=" \n"), {}, "The concept is empty"),
        (guard("prayer"), {}, "prayer"),
        (guard(), {"guidance": 1.0}, "works through guidance, which is off"),
    ],
)
def test_a_guard_that_can_do_nothing_is_refused_in_a_sentence(
    comfy: ComfyServer, guarded: dict[str, Any], sampled: dict[str, Any], said: str
) -> None:
    graph: Graph = {"load": load(), "guard": guarded, "sample": sample("guard", **sampled), "frames": frames_of("sample")}
    assert said in refusal(comfy, graph)
