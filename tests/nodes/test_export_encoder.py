"""Export Unlearned Encoder: a file that Load LoRA offers, exact or smaller with its error told, and names that stay inside."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from t2vu_core.erasure import Erasure
from tests.nodes.graphs import load, node, refusal
from tools.comfyui import ComfyServer, queue
from tools.comfyui.client import Graph

NAME = "encoders/to_export"
LAYER = "encoder.block.0.layer.1.DenseReluDense.wo"
INSIDE = f"text_encoders.t5xxl.transformer.{LAYER}"
# ComfyUI runs no node twice with the same inputs, and one that is not run writes no file.
FRESH = itertools.count()


@pytest.fixture(scope="module")
def encoder(comfy: ComfyServer) -> Erasure:
    """An encoder of one training step, as Load Unlearned Encoder offers it."""
    inputs = {"model": ["load", 0], "concept": "ghost", "preset": "quick", "seed": 3, "shots": 1, "steps": 1}
    inputs |= {"neutral_check": "off"}
    graph: Graph = {
        "load": load(),
        "unlearn": node("T2VUFewShotUnlearn", **inputs),
        "save": node("T2VUSaveErasure", erasure=["unlearn", 0], name=NAME, overwrite=True),
    }
    result = queue(comfy.url, graph)
    assert result.succeeded, result.error
    return Erasure.load(comfy.base / "output" / "erasures" / f"{NAME}.safetensors")


@pytest.fixture(autouse=True)
def no_loras_stay(comfy: ComfyServer) -> Iterator[None]:
    yield
    for file in (comfy.base / "models" / "loras").rglob("*.safetensors"):
        file.unlink()


def exporting(**changes: Any) -> Graph:
    inputs = {"encoder": ["file", 0], "rank": 0, "folder": "models/loras", "name": "", "overwrite": False} | changes
    return {
        "file": node("T2VULoadEncoder", file=f"{NAME}.safetensors"),
        "export": node("T2VUExportEncoder", **inputs),
        "name": node("PreviewAny", source=["export", 0]),
        "error": node("PreviewAny", source=["export", 1]),
    }


def exported(comfy: ComfyServer, **changes: Any) -> tuple[Path, float]:
    """The file and the error that the node gives."""
    result = queue(comfy.url, exporting(**{"name": f"export_{next(FRESH)}", **changes}))
    assert result.succeeded, result.error
    name, error = (str(result.outputs[key]["text"][0]) for key in ("name", "error"))
    folder = "models" if changes.get("folder", "models/loras") == "models/loras" else "output"
    return comfy.base / folder / "loras" / name, float(error)


def test_load_lora_offers_every_value_of_the_change(comfy: ComfyServer, encoder: Erasure) -> None:
    file, error = exported(comfy, name="styles/forgotten")
    assert error == 0
    offered = comfy.get("/object_info/LoraLoader")["LoraLoader"]["input"]["required"]["lora_name"][0]
    assert "styles/forgotten.safetensors" in offered
    written = load_file(file)
    assert torch.equal(written[f"{INSIDE}.diff"], encoder.tensors[f"text_encoder.{LAYER}.delta.weight"])
    assert len(written) == len(encoder.tensors)


def test_low_rank_factors_are_smaller_and_the_node_says_what_they_leave_out(comfy: ComfyServer, encoder: Erasure) -> None:
    whole, _ = exported(comfy)
    sizes, errors = [], []
    for rank in (2, 16):
        file, error = exported(comfy, rank=rank, folder="output/loras")
        factors = load_file(file)
        change = encoder.tensors[f"text_encoder.{LAYER}.delta.weight"].float()
        lost = (factors[f"{INSIDE}.lora_B.weight"] @ factors[f"{INSIDE}.lora_A.weight"] - change).norm() / change.norm()
        assert 0 < lost < 1
        assert factors[f"{INSIDE}.lora_A.weight"].shape[0] == rank
        sizes.append(file.stat().st_size)
        errors.append(error)
    assert sizes[0] < sizes[1] < whole.stat().st_size
    assert 1 > errors[0] > errors[1] > 0


def test_a_name_that_is_taken_gets_a_number_unless_it_may_be_replaced(comfy: ComfyServer, encoder: Erasure) -> None:
    assert exported(comfy, name="taken")[0].name == "taken.safetensors"
    assert exported(comfy, name="taken.safetensors")[0].name == "taken_2.safetensors"
    assert exported(comfy, name="taken", overwrite=True)[0].name == "taken.safetensors"


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "folder/", ".hidden"])
def test_it_is_never_written_outside_its_folder(comfy: ComfyServer, encoder: Erasure, name: str) -> None:
    assert "give a name such as" in refusal(comfy, exporting(name=name))
    assert not list(comfy.base.parent.rglob("evil*.safetensors"))


@pytest.mark.parametrize(("changes", "said"), [({"folder": "/etc"}, "/etc"), ({"rank": -1}, "smaller than min")])
def test_a_choice_that_was_not_offered_is_refused(
    comfy: ComfyServer, encoder: Erasure, changes: dict[str, Any], said: str
) -> None:
    assert said in refusal(comfy, exporting(**changes))


def test_an_eraser_of_a_denoiser_cannot_be_wired_to_it(comfy: ComfyServer, encoder: Erasure, eraser_name: str) -> None:
    graph = {**exporting(name="wrong"), "file": node("T2VULoadErasure", file=eraser_name)}
    assert "return_type_mismatch" in refusal(comfy, graph)
