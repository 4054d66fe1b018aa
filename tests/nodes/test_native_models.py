"""Erasers of the LoRA kind on ComfyUI's own models: the weights change by the eraser, and by nothing else."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from t2vu_core.erasure import Base, Erasure
from tests.nodes.graphs import node, refusal
from tools.comfyui import ComfyServer, queue
from tools.comfyui.client import Graph
from tools.comfyui.server import SHIM, comfyui_folder

WIDTH, RANK, STRENGTH = 128, 3, 0.5
NAMES = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "o"}


@pytest.fixture(scope="module")
def unet(comfy: ComfyServer) -> Path:
    """A tiny Wan, in ComfyUI's own format, that Load Diffusion Model offers."""
    file = comfy.base / "models" / "diffusion_models" / "tiny_wan.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    paths = os.pathsep.join(filter(None, [str(SHIM), os.environ.get("PYTHONPATH")]))
    answer = subprocess.run(
        [os.environ.get("COMFYUI_PYTHON", sys.executable), str(Path(__file__).with_name("tiny_native.py")), str(file)],
        cwd=comfyui_folder(), env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    return file


@pytest.fixture(scope="module")
def eraser(comfy: ComfyServer) -> Iterator[Erasure]:
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for block in range(2):
        for projection in NAMES:
            site = f"blocks.{block}.attn2.{projection}"
            tensors[f"{site}.lora_A.weight"] = torch.randn(RANK, WIDTH, generator=generator)
            tensors[f"{site}.lora_B.weight"] = torch.randn(WIDTH, RANK, generator=generator)
    erasure = Erasure("eraser", ("ghost",), Base("Wan in tests", "wan", "0" * 64), tensors, "random, for tests")
    file = erasure.save(comfy.base / "output" / "erasures" / "native_wan")
    yield erasure
    file.unlink()


def _graph(prefix: str, **changes: Any) -> Graph:
    inputs = {"model": ["unet", 0], "eraser": ["file", 0], "strength": STRENGTH, "same_base": True} | changes
    return {
        "unet": node("UNETLoader", unet_name="tiny_wan.safetensors", weight_dtype="default"),
        "file": node("T2VULoadErasure", file="native_wan.safetensors"),
        "apply": node("T2VUApplyEraserNative", **inputs),
        "keep": node("ModelSave", model=["apply", 0], filename_prefix=prefix),
    }


def _weights(comfy: ComfyServer, graph: Graph, prefix: str) -> dict[str, Tensor]:
    """The weights that ComfyUI computes with, by their names in its own files."""
    result = queue(comfy.url, graph)
    assert result.succeeded, result.error
    (file,) = (comfy.base / "output").glob(f"{prefix}_*.safetensors")
    weights = load_file(file)
    file.unlink()
    return {name.removeprefix("model.").removeprefix("diffusion_model."): value for name, value in weights.items()}


def test_the_weights_change_by_the_eraser_and_by_nothing_else(comfy: ComfyServer, unet: Path, eraser: Erasure) -> None:
    before, after = load_file(unet), _weights(comfy, _graph("erased"), "erased")
    changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert changed == {f"blocks.{block}.cross_attn.{name}.weight" for block in range(2) for name in NAMES.values()}
    for block in range(2):
        for projection, name in NAMES.items():
            down, up = (eraser.tensors[f"blocks.{block}.attn2.{projection}.lora_{half}.weight"] for half in "AB")
            weight = f"blocks.{block}.cross_attn.{name}.weight"
            torch.testing.assert_close(after[weight], before[weight] + STRENGTH * up @ down, atol=1e-5, rtol=1e-5)


def test_it_is_what_load_lora_makes_of_the_exported_file(comfy: ComfyServer, unet: Path, eraser: Erasure) -> None:
    direct = _weights(comfy, _graph("direct"), "direct")
    exporting = {
        "file": node("T2VULoadErasure", file="native_wan.safetensors"),
        "export": node(
            "T2VUExportLora", eraser=["file", 0], layout="comfyui", folder="models/loras", name="native", overwrite=True
        ),
    }
    assert queue(comfy.url, exporting).succeeded
    graph = _graph("exported")
    graph["apply"] = node("LoraLoaderModelOnly", model=["unet", 0], lora_name="native.safetensors", strength_model=STRENGTH)
    exported = _weights(comfy, graph, "exported")
    (comfy.base / "models" / "loras" / "native.safetensors").unlink()
    assert all(torch.equal(direct[name], value) for name, value in exported.items())


def test_the_model_that_came_in_stays_as_it_was(comfy: ComfyServer, unet: Path, eraser: Erasure) -> None:
    graph = _graph("both")
    graph["untouched"] = node("ModelSave", model=["unet", 0], filename_prefix="untouched")
    assert queue(comfy.url, graph).succeeded
    for file in (comfy.base / "output").glob("both_*.safetensors"):
        file.unlink()
    (file,) = (comfy.base / "output").glob("untouched_*.safetensors")
    names = {name.removeprefix("model.").removeprefix("diffusion_model."): value for name, value in load_file(file).items()}
    file.unlink()
    assert all(torch.equal(names[name], value) for name, value in load_file(unet).items())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"same_base": False}, "trained on Wan in tests"),
        ({"denoiser": "high_noise"}, "denoiser must be only"),
        ({"strength": float("nan")}, "strength"),
    ],
)
def test_what_cannot_be_right_is_refused(
    comfy: ComfyServer, unet: Path, eraser: Erasure, changes: dict[str, Any], said: str
) -> None:
    assert said in refusal(comfy, _graph("refused", **changes))
    assert not list((comfy.base / "output").glob("refused*"))


def test_a_model_of_another_size_is_refused(comfy: ComfyServer, unet: Path, eraser: Erasure) -> None:
    narrow = {name: value[:, :-1] if "lora_A" in name else value[:-1] for name, value in eraser.tensors.items()}
    file = dataclasses.replace(eraser, tensors=narrow).save(comfy.base / "output" / "erasures" / "narrow_wan")
    graph = _graph("narrow")
    graph["file"]["inputs"]["file"] = file.name
    try:
        assert "This MODEL is not the wan model" in refusal(comfy, graph)
    finally:
        file.unlink()
