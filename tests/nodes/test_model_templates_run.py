"""Templates for real models, run from end to end in a real ComfyUI: tiny denoisers of the real classes, stock nodes.

The denoiser's file has the name that the template loads. CLIP and VAE are stand-ins, as ComfyUI's have one large size. The
graph for Wan 2.1 is a part of that for Wan 2.2, and HunyuanVideo's has the same nodes.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from t2vu_core import Erasure
from tests.nodes.graphs import frames_of, node, pixels, refusal
from tests.nodes.twins import TWINS
from tools.comfyui import ComfyServer, queue
from tools.comfyui.client import Graph
from tools.comfyui.server import REPOSITORY

FAMILIES = {"erase_from_wan_2_2_a14b": "wan", "erase_from_ltx_video": "ltx"}
CLIPS = {"wan": (96, 64, 9), "ltx": (128, 96, 17)}
"""Width, height and frames that are no larger than a test needs."""
STRONG = {"steps": 2, "eta": 5.0, "learning_rate": 0.02}
TWO_MODELS = "erase_from_wan_2_2_a14b"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A ComfyUI of its own: the shared one has no stand-ins, and must not offer these files."""
    server = ComfyServer(tmp_path_factory.mktemp("templates"))
    server.prepare()
    shutil.copy(Path(__file__).with_name("stand_ins.py"), server.base / "custom_nodes" / "stand_ins.py")
    for name, family in FAMILIES.items():
        for number, file in enumerate(_denoisers(name)):
            path = server.base / "models" / "diffusion_models" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            tensors, metadata = TWINS[family]().file
            save_file(_another(tensors, number), path, metadata=metadata)
    with server:
        yield server


def _another(tensors: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    """The tensors of another model, but for number 0."""
    generator = torch.Generator().manual_seed(number)
    noise = {name: torch.randn(value.shape, generator=generator) * value.float().std() for name, value in tensors.items()}
    return {name: noise[name] if number and value.ndim > 1 else value for name, value in tensors.items()}


def _api(name: str) -> Graph:
    graph: Graph = json.loads((REPOSITORY / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    return graph


def _denoisers(name: str) -> list[str]:
    """The files of the denoisers; Load Checkpoint is replaced by a file of the denoiser alone."""
    files = [node["inputs"].get("unet_name") or node["inputs"].get("ckpt_name") for node in _api(name).values()]
    return [file for file in files if file]


def _small(name: str, **erase: Any) -> Graph:
    """The template with its loaders of text encoder and VAE replaced, small clips, and few steps."""
    graph, family = _api(name), FAMILIES[name]
    width, height, frames = CLIPS[family]
    graph["stand-ins"] = node("LoadStandIns", family=family)
    moved: dict[tuple[str, int], list[Any]] = {}
    for key, entry in list(graph.items()):
        kind, inputs = entry["class_type"], entry["inputs"]
        if kind == "CLIPLoader":
            moved[key, 0] = ["stand-ins", 0]
        elif kind == "VAELoader":
            moved[key, 0] = ["stand-ins", 1]
        elif kind == "CheckpointLoaderSimple":
            moved[key, 2] = ["stand-ins", 1]
            graph[key] = node("UNETLoader", unet_name=inputs["ckpt_name"], weight_dtype="default")
        elif kind == "T2VUFromComfyUI":
            inputs |= {"width": width, "height": height, "num_frames": frames, "steps": 8 if name == TWO_MODELS else 2}
        elif kind == "T2VUVelocityErase":
            inputs |= STRONG | erase
        elif kind.startswith("Empty"):
            inputs |= {"width": width, "height": height, "length": frames}
        elif kind == "KSampler":
            inputs["steps"] = 2
        elif kind == "KSamplerAdvanced":
            # Every fifth step: the first model computes the first half.
            inputs |= {name_: inputs[name_] // 5 for name_ in ("steps", "start_at_step", "end_at_step")}
    for entry in graph.values():
        for name_, value in entry["inputs"].items():
            if isinstance(value, list):
                entry["inputs"][name_] = moved.get((value[0], value[1]), value)
    for key in [key for key, entry in graph.items() if entry["class_type"] in ("CLIPLoader", "VAELoader")]:
        del graph[key]
    return graph


def _key(graph: Graph, kind: str) -> str:
    (key,) = [key for key, entry in graph.items() if entry["class_type"] == kind]
    return key


def _with_plain(graph: Graph) -> Graph:
    """The graph with the frames of its clip, and those of the same clip without erasers."""
    graph = graph | {"after": frames_of(_key(graph, "VAEDecode"))}
    copies = {key: f"{key} plain" for key, entry in graph.items() if entry["class_type"].startswith(("KSampler", "VAEDecode"))}
    for key, copied in copies.items():
        inputs = {name: _plain(graph, value, copies) for name, value in graph[key]["inputs"].items()}
        graph[copied] = {"class_type": graph[key]["class_type"], "inputs": inputs}
    graph["before"] = frames_of(copies[_key(_api_only(graph), "VAEDecode")])
    return graph


def _api_only(graph: Graph) -> Graph:
    return {key: entry for key, entry in graph.items() if not key.endswith(" plain")}


def _plain(graph: Graph, value: Any, copies: dict[str, str]) -> Any:
    if not isinstance(value, list):
        return value
    source = graph[value[0]]
    if source["class_type"] == "T2VUApplyEraserNative":
        return source["inputs"]["model"]
    return [copies.get(value[0], value[0]), value[1]]


def test_the_graph_with_one_model_erases_saves_and_samples(tiny: ComfyServer) -> None:
    graph = _with_plain(_small("erase_from_ltx_video"))
    result = queue(tiny.url, graph)
    before, after = pixels(tiny, result, "before"), pixels(tiny, result, "after")
    assert before.shape == after.shape
    assert (before != after).any(), "the eraser is on the MODEL that KSampler samples"
    assert result.files(_key(graph, "SaveVideo"))
    said = [result.outputs[key]["text"][0] for key, entry in graph.items() if entry["class_type"] == "T2VUApplyEraserNative"]
    assert all(text.startswith(("the same weights", "the same but for rounding")) for text in said), said


@pytest.fixture(scope="module")
def both(tiny: ComfyServer) -> tuple[Graph, dict[str, Tensor]]:
    """The graph for Wan 2.2 A14B, run, and the tensors of its eraser file."""
    graph = _small(TWO_MODELS, kind="lora", steps=12)
    graph[_key(graph, "T2VUSaveErasure")]["inputs"] |= {"name": "both", "overwrite": True}
    result = queue(tiny.url, graph)
    assert result.succeeded, result.error
    said = [result.outputs[key]["text"][0] for key, entry in graph.items() if entry["class_type"] == "T2VUApplyEraserNative"]
    assert all(text.startswith("the same weights; compared with ") for text in said), said
    return graph, load_file(tiny.base / "output" / "erasures" / "both.safetensors")


def test_one_file_holds_what_both_denoisers_have_learned(tiny: ComfyServer, both: tuple[Graph, dict[str, Tensor]]) -> None:
    """Every layer of both was trained, with noise levels of its own."""
    learned = {name: float(tensor.norm()) for name, tensor in both[1].items() if name.endswith("lora_B.weight")}
    low = {name.removeprefix("transformer_2.") for name in learned if name.startswith("transformer_2.")}
    high = {name for name in learned if not name.startswith("transformer_2.")}
    assert low == high
    assert min(learned.values()) > 0


def test_the_part_of_each_denoiser_counts(tiny: ComfyServer, both: tuple[Graph, dict[str, Tensor]]) -> None:
    """Without the part of one denoiser, the clip is another one, and it is not the plain clip either."""
    whole = _with_plain(both[0])
    result = queue(tiny.url, whole)
    clips = [pixels(tiny, result, "before"), pixels(tiny, result, "after")]
    for stretch in ("high_noise", "low_noise"):
        partly = json.loads(json.dumps(whole))
        (key,) = [key for key, entry in whole.items() if entry["inputs"].get("denoiser") == stretch]
        partly[key]["inputs"]["strength"] = 0.0
        clips.append(pixels(tiny, queue(tiny.url, partly), "after"))
    assert all((one != other).any() for one, other in itertools.combinations(clips, 2))


def test_the_part_of_one_denoiser_is_refused_on_the_other(tiny: ComfyServer, both: tuple[Graph, dict[str, Tensor]]) -> None:
    graph = json.loads(json.dumps(both[0]))
    for entry in graph.values():
        if entry["class_type"] == "T2VUApplyEraserNative":
            entry["inputs"]["denoiser"] = "high_noise"
    assert "is another model" in refusal(tiny, graph)


def test_the_file_says_which_model_it_is_for(tiny: ComfyServer, both: object) -> None:
    erasure = Erasure.load(tiny.base / "output" / "erasures" / "both.safetensors")
    assert erasure.base.family == "wan"
    # Older versions of ComfyUI do not remember the file.
    assert erasure.base.name in ("WAN21", "wan2.2_t2v_high_noise_14B_fp8_scaled")
