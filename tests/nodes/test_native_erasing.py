"""Erasing on ComfyUI's own MODEL, CLIP and VAE in a graph: the shipped workflow, cancels, jobs, and what is refused."""

from __future__ import annotations

import copy
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from t2vu_core import Erasure
from tests.nodes.graphs import frames_of, node, pixels, refusal
from tools.comfyui import ComfyServer, queue
from tools.comfyui.client import Control, Event, Graph
from tools.comfyui.server import REPOSITORY

WORKFLOW: Graph = json.loads((REPOSITORY / "workflows" / "api" / "erase_native.json").read_text(encoding="utf-8"))
SHORT = {"preset": "quick", "steps": 2, "eta": 5.0, "learning_rate": 0.01, "memory": "8 GB"}
"""Enough to change the pictures."""
PLACES = {"before": 2, "after": 3}
"""The outputs of Compare with the frames."""


def shipped(precision: str = "fp32", **erase: Any) -> Graph:
    """The shipped graph, with a short training and four sampling steps; the frames are saved."""
    graph = copy.deepcopy(WORKFLOW)
    graph["1"]["inputs"]["precision"] = precision
    graph["2"]["inputs"]["steps"] = 4
    graph["3"]["inputs"] |= SHORT | erase
    for sampler in ("8", "9"):
        graph[sampler]["inputs"]["steps"] = 4
    return graph | {"before": frames_of("10"), "after": frames_of("11")}


@pytest.mark.parametrize("precision", ["fp8_scaled", "fp32"])
def test_the_shipped_graph_trains_and_changes_what_ksampler_samples(comfy: ComfyServer, precision: str) -> None:
    """Whether the concept is gone is measured by benchmarks.native_against_folder and native_graph, in minutes."""
    result = queue(comfy.url, shipped(precision))
    said = [event.payload.decode(errors="replace") for event in result.of("text")]
    planned = [place for place, line in enumerate(said) if "Memory, planned:" in line]
    passes = [place for place, line in enumerate(said) if re.search(r"(trajectories|training) \d+/\d", line)]
    assert planned, "there is no memory plan"
    assert "Chosen for 8 GB: 9 frames of 64 x 64, 4 + 8 points a step" in said[planned[0]]
    assert planned[0] < passes[0]
    before, after = pixels(comfy, result, "before"), pixels(comfy, result, "after")
    assert before.shape == after.shape == (9, 64, 64, 3)
    assert np.abs(before.astype(int) - after.astype(int)).max() > 8


def test_our_nodes_sample_what_ksampler_samples_in_kind(comfy: ComfyServer) -> None:
    """Sample Video takes the model, with the eraser on it too, which ComfyUI keeps from the test before."""
    graph = {name: entry for name, entry in shipped().items() if name in ("1", "2", "3")}
    graph |= {
        "apply": node("T2VUApplyEraser", model=["2", 0], eraser=["3", 0], strength=1.0),
        "plain": node("T2VUSampleVideo", model=["2", 0], prompt="a ghost moving left", seed=5),
        "erased": node("T2VUSampleVideo", model=["apply", 0], prompt="a ghost moving left", seed=5),
        "before": frames_of("plain"),
        "after": frames_of("erased"),
    }
    result = queue(comfy.url, graph)
    before, after = pixels(comfy, result, "before"), pixels(comfy, result, "after")
    assert before.shape == (9, 64, 64, 3)
    assert np.abs(before.astype(int) - after.astype(int)).max() > 8


def test_a_saved_eraser_works_in_other_graphs_natively_and_on_the_folder(comfy: ComfyServer) -> None:
    """The training is the one that ComfyUI keeps from the first test; the other graphs only read the file."""
    saving = {name: entry for name, entry in shipped().items() if name in ("1", "2", "3", "4")}
    saving["4"]["inputs"]["name"] = "native_elsewhere"
    saved = queue(comfy.url, saving)
    assert saved.succeeded, saved.error
    file = node("T2VULoadErasure", file="native_elsewhere.safetensors")
    native = {name: entry for name, entry in shipped("fp8").items() if name not in ("2", "3", "4", "12", "13", "14", "15")}
    native["file"], native["5"]["inputs"]["eraser"] = file, ["file", 0]
    folder = {
        "file": file,
        "load": node("T2VULoadModel", model="miniature-ltx", dtype="float32"),
        "apply": node("T2VUApplyEraser", model=["load", 0], eraser=["file", 0], strength=1.0),
        "plain": node("T2VUSampleVideo", model=["load", 0], prompt="a ghost moving left", seed=5, steps=2),
        "erased": node("T2VUSampleVideo", model=["apply", 0], prompt="a ghost moving left", seed=5, steps=2),
        "before": frames_of("plain"),
        "after": frames_of("erased"),
    }
    for graph in (native, folder):
        result = queue(comfy.url, graph)
        before, after = pixels(comfy, result, "before"), pixels(comfy, result, "after")
        assert np.abs(before.astype(int) - after.astype(int)).max() > 8
    (comfy.base / "output" / "erasures" / "native_elsewhere.safetensors").unlink()


def _clip_in(precision: str, fps: float = 8.0) -> Graph:
    """A clip of the MODEL in that precision, by this pack's own loop."""
    graph = {name: entry for name, entry in shipped(precision).items() if name in ("1", "2")}
    graph["clip"] = node("T2VUSampleVideo", model=["2", 0], prompt="a ghost moving left", seed=5, steps=2, fps=fps)
    return graph | {"frames": frames_of("clip")}


def test_a_model_can_be_swapped_between_runs_and_jobs_that_are_queued_together(comfy: ComfyServer) -> None:
    alone = [pixels(comfy, queue(comfy.url, _clip_in(precision))) for precision in ("fp32", "fp8")]
    assert (alone[0] != alone[1]).any()
    with ThreadPoolExecutor(2) as pool:
        again = list(pool.map(lambda precision: queue(comfy.url, _clip_in(precision, fps=9.0)), ("fp32", "fp8")))
    for result, expected in zip(again, alone, strict=True):
        assert "clip" not in result.cached
        assert np.array_equal(pixels(comfy, result), expected)


def test_a_training_run_shows_previews_and_goes_on_after_a_cancel(comfy: ComfyServer) -> None:
    whole = shipped(seed=96, steps=24, num_frames=1, neutral_check="off")
    graph = {name: whole[name] for name in ("1", "2", "3", "4")}
    graph["2"]["inputs"]["steps"] = 2
    graph["4"]["inputs"]["name"] = "native_cancelled"

    def cancel(event: Event, control: Control) -> None:
        if event.type == "text" and b"training 3/24" in event.payload:
            control.interrupt()

    cancelled = queue(comfy.url, graph, cancel)
    assert cancelled.of("execution_interrupted")
    assert cancelled.of("preview")
    file = comfy.base / "output" / "erasures" / "native_cancelled.safetensors"
    assert not file.exists()
    again = queue(comfy.url, graph)
    said = [event.payload for event in again.of("text")]
    assert not any(b"training 3/24" in line for line in said), "the steps before the cancel are not trained again"
    assert len(Erasure.load(file).training["losses"]) == 24
    file.unlink()


def test_a_text_encoder_unlearns_and_fits_the_folder(comfy: ComfyServer) -> None:
    """ComfyUI's T5 has the names, the tokens and the identity of the folder's."""
    graph = {name: entry for name, entry in shipped().items() if name in ("1", "2")}
    few = {
        "concept": "ghost",
        "preset": "quick",
        "seed": 0,
        "shots": 1,
        "steps": 1,
        "image_model": "none",
        "neutral_check": "off",
    }
    graph |= {
        "folder": node("T2VULoadModel", model="miniature-ltx", dtype="float32"),
        "encoder": node("T2VUFewShotUnlearn", model=["2", 0], **few),
        "apply": node("T2VUApplyEncoder", model=["folder", 0], encoder=["encoder", 0], strength=1.0),
        "sample": node("T2VUSampleVideo", model=["apply", 0], prompt="a ghost moving left", seed=5, steps=2),
        "frames": frames_of("sample"),
    }
    assert pixels(comfy, queue(comfy.url, graph)).shape == (9, 64, 64, 3)


def test_guard_evaluate_and_compare_take_the_model(comfy: ComfyServer) -> None:
    """With two steps and the fewest prompts: one that must change, one that must not."""
    prompt, other = "a ghost moving left", json.dumps({"prompt": "a cat", "register": "kept", "concept": "cat"})
    graph = {name: entry for name, entry in shipped().items() if name in ("1", "2", "3")}
    graph["2"]["inputs"]["steps"] = 2
    graph |= {
        "erased": node("T2VUApplyEraser", model=["2", 0], eraser=["3", 0], strength=1.0),
        "guard": node("T2VUGuard", model=["2", 0], method="negative_prompt", concepts="ghost"),
        "plain": node("T2VUSampleVideo", model=["2", 0], prompt=prompt, seed=5),
        "guarded": node("T2VUSampleVideo", model=["guard", 0], prompt=prompt, seed=5),
        "evaluate": node(
            "T2VUEvaluateErasure", model=["erased", 0], concept="ghost", preset="quick", prompts=f"{prompt}\n{other}"
        ),
        "compare": node("T2VUCompare", before=["2", 0], after=["3", 0], prompts=f"{prompt}\na cat", seed=5),
        "scores": node("PreviewAny", source=["evaluate", 1]),
        **{f"of {name}": frames_of(name) for name in ("plain", "guarded")},
        **{
            f"compared {when}": node("SaveImage", images=["compare", place], filename_prefix=when)
            for when, place in PLACES.items()
        },
    }
    result = queue(comfy.url, graph)
    plain, guarded = pixels(comfy, result, "of plain"), pixels(comfy, result, "of guarded")
    assert plain.shape == guarded.shape == (9, 64, 64, 3)
    assert (plain != guarded).any()
    before, after = (pixels(comfy, result, f"compared {when}") for when in PLACES)
    assert before.shape == after.shape == (18, 64, 64, 3), "two clips"
    assert np.array_equal(before[:9], plain), "Compare samples what Sample Video samples"
    assert (before != after).any()
    scores = json.loads(result.outputs["scores"]["text"][0])
    assert scores["concept"] == "ghost"
    assert scores["erased"]["all"]["clips"] == scores["kept"]["concepts"]["clips"] == 1


def test_two_training_runs_that_are_queued_together_are_those_that_run_alone(comfy: ComfyServer) -> None:
    names, folder = ("queued_ghost", "queued_cat"), comfy.base / "output" / "erasures"

    def training(name: str, fps: float) -> Graph:
        """Another frame rate of saved clips changes no training run, but ComfyUI does not take the eraser from its cache."""
        whole = shipped(num_frames=1, neutral_check="off", seed=31, concept=name.removeprefix("queued_"))
        graph = {key: whole[key] for key in ("1", "2", "3", "4")}
        graph["2"]["inputs"] |= {"steps": 2, "fps": fps}
        graph["4"]["inputs"]["name"] = name
        return graph

    def losses() -> list[list[float]]:
        files = [folder / f"{name}.safetensors" for name in names]
        found = [list(Erasure.load(file).training["losses"]) for file in files]
        for file in files:
            file.unlink()
        return found

    for name in names:
        result = queue(comfy.url, training(name, 8.0))
        assert result.succeeded, result.error
    alone = losses()
    assert alone[0] != alone[1]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda name: queue(comfy.url, training(name, 9.0)), names))
    assert all(result.succeeded and "3" not in result.cached for result in results)
    assert losses() == alone


def test_export_lora_measures_what_merging_into_the_connected_model_loses(comfy: ComfyServer) -> None:
    whole = shipped("fp8_scaled", num_frames=1, neutral_check="off")
    graph = {name: whole[name] for name in ("1", "2", "3")}
    graph["2"]["inputs"]["steps"] = 2
    exported = {"eraser": ["3", 0], "layout": "comfyui", "folder": "output/loras", "name": "measured", "overwrite": True}
    graph["with"] = node("T2VUExportLora", model=["1", 0], **exported)
    graph["without"] = node("T2VUExportLora", **{**exported, "name": "not_measured"})
    result = queue(comfy.url, graph)
    assert result.succeeded, result.error
    with_model, without = (str(result.outputs[name]["text"][0]) for name in ("with", "without"))
    assert re.search(
        r"merged into this model's fp8 weights, the change \(.*% of the weights\) arrives with a rounding error", with_model
    )
    assert "connect model" not in with_model
    assert "rounding error" not in without
    assert "In fp8 models merging rounds a small change away: connect model to measure it" in without


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latent": None}, "The size of the clips is not known"),
        ({"latent": None, "width": 64, "height": 64, "num_frames": 8}, "This VAE cannot make 8 frames"),
        ({"width": 70}, "This VAE cannot make 70 x 64 pixels"),
    ],
)
def test_a_size_that_cannot_be_is_refused(comfy: ComfyServer, changes: dict[str, Any], said: str) -> None:
    graph = {name: entry for name, entry in shipped().items() if name in ("1", "2")}
    inputs = {**graph["2"]["inputs"], **changes}
    graph["2"]["inputs"] = {name: value for name, value in inputs.items() if value is not None}
    graph["clip"] = node("T2VUSampleVideo", model=["2", 0], prompt="a ghost", seed=1)
    graph["frames"] = frames_of("clip")
    assert said in refusal(comfy, graph)
