"""Export LoRA: files that Load LoRA offers, names that stay inside, and a clear word where no LoRA can say it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from t2vu_core.erasure import Erasure
from tests.nodes.graphs import node, refusal
from tools.comfyui import ComfyServer, queue
from tools.comfyui.client import Graph

RANK = 2


def _exporting(eraser: str, **changes: Any) -> Graph:
    inputs = {"eraser": ["file", 0], "layout": "comfyui", "folder": "models/loras", "name": "", "overwrite": False} | changes
    return {
        "file": node("T2VULoadErasure", file=eraser),
        "export": node("T2VUExportLora", **inputs),
        "text": node("PreviewAny", source=["export", 0]),
    }


def _exported(comfy: ComfyServer, eraser: str, **changes: Any) -> list[str]:
    result = queue(comfy.url, _exporting(eraser, **changes))
    assert result.succeeded, result.error
    return str(result.outputs["text"]["text"][0]).splitlines()


@pytest.fixture
def bottleneck_name(comfy: ComfyServer, eraser_name: str) -> Iterator[str]:
    """An eraser of the bottleneck kind behind the miniature's attentions, as Load Erasure offers it."""
    folder = comfy.base / "output" / "erasures"
    lora = Erasure.load(folder / eraser_name)
    last = ".to_out.0.lora_B.weight"
    tensors = {}
    for name, weight in lora.tensors.items():
        if name.endswith(last):
            site = name.removesuffix(last)
            for layer, out, width in (("down", RANK, len(weight)), ("up", len(weight), RANK)):
                tensors |= {f"{site}.{layer}.weight": torch.ones(out, width), f"{site}.{layer}.bias": torch.zeros(out)}
    file = dataclasses.replace(lora, tensors=tensors).save(folder / "of_bottleneck_kind")
    yield file.name
    file.unlink()


@pytest.fixture(autouse=True)
def no_loras_stay(comfy: ComfyServer) -> Iterator[None]:
    yield
    for file in (comfy.base / "models" / "loras").rglob("*.safetensors"):
        file.unlink()


def test_load_lora_offers_what_was_exported(comfy: ComfyServer, eraser_name: str) -> None:
    assert _exported(comfy, eraser_name, name="styles/mine") == ["styles/mine.safetensors"]
    offered = comfy.get("/object_info/LoraLoaderModelOnly")["LoraLoaderModelOnly"]["input"]["required"]["lora_name"][0]
    assert "styles/mine.safetensors" in offered
    tensors = load_file(comfy.base / "models" / "loras" / "styles" / "mine.safetensors")
    assert "diffusion_model.blocks.0.attn_out.lora_B.weight" in tensors
    original = Erasure.load(comfy.base / "output" / "erasures" / eraser_name).tensors
    name = "transformer_blocks.0.attn1.to_out.0.lora_B.weight"
    assert torch.equal(tensors["diffusion_model.blocks.0.attn_out.lora_B.weight"], original[name])


def test_diffusers_gets_its_own_names_in_the_output_folder(comfy: ComfyServer, eraser_name: str) -> None:
    (name,) = _exported(comfy, eraser_name, layout="diffusers", folder="output/loras")
    assert name == "ghost.safetensors"
    assert "transformer.transformer_blocks.0.attn1.to_q.lora_A.weight" in load_file(comfy.base / "output" / "loras" / name)


def test_a_name_that_is_taken_gets_a_number_unless_it_may_be_replaced(comfy: ComfyServer, eraser_name: str) -> None:
    assert _exported(comfy, eraser_name, name="taken") == ["taken.safetensors"]
    # The extension stands for a changed graph: ComfyUI runs no node twice with the same inputs.
    assert _exported(comfy, eraser_name, name="taken.safetensors") == ["taken_2.safetensors"]
    assert _exported(comfy, eraser_name, name="taken", overwrite=True) == ["taken.safetensors"]


def test_a_bottleneck_is_refused_and_nothing_is_written(comfy: ComfyServer, bottleneck_name: str) -> None:
    said = refusal(comfy, _exporting(bottleneck_name, name="bottleneck"))
    assert "bottleneck" in said
    assert "Train one of the LoRA kind" in said
    assert not list((comfy.base / "models").rglob("*bottleneck*"))


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/../../../evil", "..", ".hidden", "folder/", "\0"])
@pytest.mark.parametrize("folder", ["models/loras", "output/loras"])
def test_a_lora_is_never_written_outside_its_folder(comfy: ComfyServer, eraser_name: str, folder: str, name: str) -> None:
    assert "give a name such as" in refusal(comfy, _exporting(eraser_name, folder=folder, name=name))
    assert not list(comfy.base.parent.rglob("evil*.safetensors"))
    assert not Path("/tmp/evil.safetensors").exists()


@pytest.mark.parametrize("changes", [{"folder": "/etc"}, {"layout": "other"}])
def test_a_choice_that_was_not_offered_is_refused(comfy: ComfyServer, eraser_name: str, changes: dict[str, str]) -> None:
    assert next(iter(changes.values())) in refusal(comfy, _exporting(eraser_name, **changes))
