"""Unlearning a text encoder in a graph: shots, before and after, saved and loaded, wrong wires, cancel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.nodes.graphs import apply, before_and_after, frames_of, load, node, pixels, refusal, sample, sampled
from tools.comfyui import ComfyServer, Result, queue
from tools.comfyui.client import Control, Event, Graph

NAME = "encoders/shared"
STRENGTH = 10.0


def unlearn(**changes: Any) -> dict[str, Any]:
    """A training run of one step on one shot: enough to give an encoder that says something else."""
    inputs = {"model": ["load", 0], "concept": "ghost", "preset": "quick", "seed": 0, "shots": 1, "steps": 1}
    inputs |= {"neutral_check": "off"}
    return node("T2VUFewShotUnlearn", **inputs | changes)


def apply_encoder(encoder: str, **changes: Any) -> dict[str, Any]:
    return node("T2VUApplyEncoder", **{"model": ["load", 0], "encoder": [encoder, 0], "strength": STRENGTH} | changes)


@pytest.fixture(scope="module")
def unlearned(comfy: ComfyServer) -> Result:
    """The run that trained and saved an encoder, and sampled with it and without."""
    graph: Graph = {
        "load": load(),
        "unlearn": unlearn(neutral_check="auto"),
        "save": node("T2VUSaveErasure", erasure=["unlearn", 0], name=NAME, overwrite=True),
        "neutral": node("SaveImage", images=["unlearn", 4], filename_prefix="neutral"),
        "shots": node("SaveImage", images=["unlearn", 1], filename_prefix="shots"),
        "loss": node("SaveImage", images=["unlearn", 2], filename_prefix="loss"),
        "apply": apply_encoder("unlearn"),
        **before_and_after(),
    }
    result = queue(comfy.url, graph)
    assert result.succeeded, result.error
    return result


def test_the_node_shows_its_shots_its_loss_and_its_stages(comfy: ComfyServer, unlearned: Result) -> None:
    said = [event.payload.decode(errors="ignore") for event in unlearned.of("text")]
    assert any("shots 1/" in line and "0 of 1 made" in line for line in said), "every denoising step is told"
    assert any("shots" in line and "1 of 1 made" in line for line in said)
    assert any("training 1/1, loss" in line for line in said)
    assert any("neutral check 48/48" in line for line in said), "what takes its place is not looked at"
    assert "The model draws 'an empty scene'" in unlearned.outputs["unlearn"]["text"][0]
    assert pixels(comfy, unlearned, "neutral").shape == (1, 4 * 32, 3 * 32, 3), "its clips are not handed on"
    assert "instead " in said[0], "a wrong kind would be read only after the training"
    assert len(unlearned.files("shots")) == 1
    assert Image.open(comfy.file(unlearned.files("shots")[0])).size == (32, 32)
    assert Image.open(comfy.file(unlearned.files("loss")[0])).width > 300


def test_before_and_after_differ_and_the_kept_model_stays_as_it_was(comfy: ComfyServer, unlearned: Result) -> None:
    before, after = pixels(comfy, unlearned, "frames before"), pixels(comfy, unlearned, "frames after")
    assert not np.array_equal(before, after)
    assert np.array_equal(pixels(comfy, queue(comfy.url, sampled(fps=5.0))), before)


def test_a_saved_encoder_erases_as_the_trained_one_did(comfy: ComfyServer, unlearned: Result) -> None:
    graph: Graph = {
        "load": load(),
        "file": node("T2VULoadEncoder", file=f"{NAME}.safetensors"),
        "text": node("PreviewAny", source=["file", 1]),
        "apply": apply_encoder("file"),
        "after": sample("apply"),
        "frames": frames_of("after"),
    }
    result = queue(comfy.url, graph)
    assert np.array_equal(pixels(comfy, result), pixels(comfy, unlearned, "frames after"))
    assert "Erases: ghost" in result.outputs["text"]["text"][0]
    assert "t5" in result.outputs["text"]["text"][0]


def test_users_images_become_the_shots(comfy: ComfyServer, unlearned: Result) -> None:
    graph: Graph = {
        "load": load(),
        "red": node("EmptyImage", width=24, height=40, batch_size=3, color=0xFF0000),
        "unlearn": unlearn(images=["red", 0], concept="ghost\nin noir style"),
        "shots": node("SaveImage", images=["unlearn", 1], filename_prefix="red"),
    }
    result = queue(comfy.url, graph)
    images = pixels(comfy, result, "shots")
    assert images.shape == (3, 32, 32, 3)
    assert (images[..., 0] > 250).all()
    assert (images[..., 1] < 5).all()


def test_an_encoder_cannot_be_wired_as_an_eraser(comfy: ComfyServer, unlearned: Result) -> None:
    graph: Graph = {
        "load": load(), "file": node("T2VULoadEncoder", file=f"{NAME}.safetensors"), "apply": apply("file"),
        "sample": sample("apply"), "frames": frames_of("sample"),
    }  # fmt: skip
    assert "return_type_mismatch" in refusal(comfy, graph)


def test_a_file_of_the_other_kind_is_refused_with_the_node_that_loads_it(
    comfy: ComfyServer, unlearned: Result, eraser_name: str
) -> None:
    def loading(kind: str, file: str) -> Graph:
        return {"file": node(kind, file=file), "text": node("PreviewAny", source=["file", 1])}

    assert "use Load Unlearned Encoder" in refusal(comfy, loading("T2VULoadErasure", f"{NAME}.safetensors"))
    assert "use Load Erasure" in refusal(comfy, loading("T2VULoadEncoder", eraser_name))


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"concept": " "}, "concept is empty"), ({"image_model": "nonesuch"}, "nonesuch"), ({"preset": "best"}, "best")],
)
def test_wrong_input_is_refused_in_a_sentence(comfy: ComfyServer, changes: dict[str, Any], said: str) -> None:
    graph: Graph = {"load": load(), "unlearn": unlearn(**changes), "shots": frames_of("unlearn")}
    graph["shots"]["inputs"]["images"] = ["unlearn", 1]
    assert said in refusal(comfy, graph)


def test_cancelling_leaves_no_file_and_a_working_server(comfy: ComfyServer) -> None:
    def cancel_at_once(event: Event, control: Control) -> None:
        if event.type == "text":
            control.interrupt()

    graph: Graph = {
        "load": load(),
        "unlearn": unlearn(seed=99, steps=1000),
        "save": node("T2VUSaveErasure", erasure=["unlearn", 0], name="cancelled_encoder", overwrite=False),
    }
    result = queue(comfy.url, graph, cancel_at_once)
    assert result.of("execution_interrupted")
    assert not list((comfy.base / "output").rglob("*cancelled_encoder*"))
    assert queue(comfy.url, sampled(seed=4)).succeeded
