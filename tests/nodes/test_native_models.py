"""Apply Eraser (MODEL) in a graph: what it takes, what it refuses, and that it merges nothing into the weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from t2vu_core.erasure import Base, Erasure
from tests.nodes.graphs import node, refusal
from tests.nodes.twins import Twin, wan
from tools.comfyui import ComfyServer, queue
from tools.comfyui.client import Graph, Result


@pytest.fixture(scope="module")
def twin() -> Twin:
    return wan()


@pytest.fixture(scope="module")
def unet(comfy: ComfyServer, twin: Twin) -> Path:
    """A tiny Wan, in ComfyUI's own format, that Load Diffusion Model offers."""
    file = comfy.base / "models" / "diffusion_models" / "tiny_wan.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    twin.write(file)
    return file


@pytest.fixture(scope="module")
def erasers(comfy: ComfyServer, twin: Twin) -> Iterator[dict[str, Erasure]]:
    """One of each kind for other weights, and one for the model's own, saved as native_<name>."""
    other, own = Base("Wan in tests", "wan", "0" * 64), Base("this Wan", "wan", twin.family.base_hash)
    made = {
        name: Erasure("eraser", ("ghost",), base, twin.eraser(kind), "random, for tests")
        for name, base, kind in [("lora", other, "lora"), ("bottleneck", other, "bottleneck"), ("own", own, "bottleneck")]
    }
    narrow = {key: value[:, :-1] if "lora_A" in key else value[:-1] for key, value in made["lora"].tensors.items()}
    made["narrow"] = dataclasses.replace(made["lora"], tensors=narrow)
    made["ltx"] = dataclasses.replace(made["lora"], base=Base("LTX in tests", "ltx", "0" * 64))
    files = [erasure.save(comfy.base / "output" / "erasures" / f"native_{name}") for name, erasure in made.items()]
    yield made
    for file in files:
        file.unlink()


def graph(eraser: str, **changes: Any) -> Graph:
    """The inputs are those of version 0.1."""
    inputs = {"model": ["unet", 0], "eraser": ["file", 0], "strength": 0.5, "same_base": True} | changes
    return {
        "unet": node("UNETLoader", unet_name="tiny_wan.safetensors", weight_dtype="default"),
        "file": node("T2VULoadErasure", file=f"native_{eraser}.safetensors"),
        "apply": node("T2VUApplyEraserNative", **inputs),
        "keep": node("ModelSave", model=["apply", 0], filename_prefix="native"),
    }


def text_of(result: Result) -> str:
    assert result.succeeded, result.error
    return str(result.outputs["apply"]["text"][0])


@pytest.mark.parametrize("eraser", ["lora", "bottleneck"])
def test_nothing_is_merged_into_the_weights(comfy: ComfyServer, unet: Path, erasers: object, eraser: str) -> None:
    assert "not compared with Wan in tests" in text_of(queue(comfy.url, graph(eraser)))
    (file,) = (comfy.base / "output").glob("native_*.safetensors")
    kept = {name.removeprefix("model.").removeprefix("diffusion_model."): value for name, value in load_file(file).items()}
    file.unlink()
    before = load_file(unet)
    assert all(torch.equal(kept[name], value) for name, value in before.items())


def test_a_model_with_the_erasers_own_weights_needs_no_confirmation(comfy: ComfyServer, unet: Path, erasers: object) -> None:
    assert "the same weights as this Wan" in text_of(queue(comfy.url, graph("own", same_base=False)))
    for file in (comfy.base / "output").glob("native_*.safetensors"):
        file.unlink()


@pytest.mark.parametrize(
    ("eraser", "changes", "said"),
    [
        ("lora", {"same_base": False}, "trained on Wan in tests (wan), and this MODEL has other weights"),
        ("lora", {"denoiser": "high_noise"}, "denoiser must be only"),
        ("lora", {"strength": float("nan")}, "strength"),
        ("lora", {"start_at": 0.5, "end_at": 0.5}, "start_at must be less than end_at"),
        ("narrow", {}, "This MODEL is not the wan model that the eraser is for. The erasure does not fit this model"),
        ("ltx", {}, "This MODEL is not the ltx model that the eraser is for: it is a wan model"),
    ],
)
def test_what_cannot_be_right_is_refused(
    comfy: ComfyServer, unet: Path, erasers: object, eraser: str, changes: dict[str, Any], said: str
) -> None:
    assert said in refusal(comfy, graph(eraser, **changes))
    assert not list((comfy.base / "output").glob("native_*"))
