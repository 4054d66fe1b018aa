"""Image Model from ComfyUI: a CLIP unlearns through ComfyUI's own UNet, as it does through diffusers'; nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from t2vu_core import Erasure, load_image_model, load_model
from t2vu_core.image_model import ImageModel
from t2vu_core.miniature.detector import detector_path, load_detector
from t2vu_core.miniature.worlds import WORLD_32
from tests.nodes.graphs import pixels
from tests.nodes.scripts import found_by
from tools.comfyui import ComfyServer, queue
from tools.comfyui.server import REPOSITORY

PROMPTS = ["a ghost under a starry night", "a cat on a green meadow"]
DRAWN = {"ghost": "a ghost under a starry night", "cat": "a cat on a green meadow"}
RECIPE = {"steps": 20, "prompts": 16, "preserve_prompts": 32, "shots": 2, "seed": 0}
IMAGES = 6


@dataclass(frozen=True)
class Found:
    """What one process in ComfyUI's folder found."""

    tensors: Mapping[str, Tensor]
    said: Mapping[str, Any]
    encoder: Erasure


@pytest.fixture(scope="module")
def ours() -> ImageModel:
    return load_image_model("miniature-unet-image", device="cpu")


def given() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        "noise": torch.randn(IMAGES, 12, 8, 8, generator=generator),
        "latents": torch.randn(2, 12, 8, 8, generator=generator),
        "timesteps": torch.tensor([500, 200]),
        "images": torch.rand(2, 3, 32, 32, generator=generator),
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Takes a minute: the encoder is truly trained."""
    folder = tmp_path_factory.mktemp("image_model")
    save_file(given(), folder / "given.safetensors")
    asked = {"prompts": PROMPTS, "drawn": DRAWN, "recipe": RECIPE}
    (folder / "given.json").write_text(json.dumps(asked), encoding="utf-8")
    tensors, said = found_by("image_model_in_process.py", folder)
    return Found(tensors, said, Erasure.load(folder / "native_encoder.safetensors"))


def test_prompts_and_gradients_are_those_of_diffusers(found: Found, ours: ImageModel) -> None:
    with torch.no_grad():
        torch.testing.assert_close(found.tensors["encoded"], ours.encode(PROMPTS).embeds_BSD, atol=1e-5, rtol=1e-5)
    modules = dict(ours.text.encoder.named_modules())
    layer = modules.get("text_model.encoder.layers.1.mlp.fc1") or modules["encoder.layers.1.mlp.fc1"]
    change = torch.zeros(256, requires_grad=True)
    handle = layer.register_forward_hook(lambda module, args, output: output + change)
    rows = given()
    with torch.enable_grad():
        ours.predict(rows["latents"], rows["timesteps"], ours.encode(PROMPTS)).pow(2).sum().backward()
    handle.remove()
    assert change.grad is not None
    torch.testing.assert_close(found.tensors["gradient"], change.grad, atol=1e-3, rtol=1e-3)


def test_the_unlearned_clip_draws_no_ghost_and_still_a_cat(found: Found) -> None:
    """Measured by the detector of the miniature on KSampler's images, before and after Apply Unlearned Encoder (CLIP)."""
    detector = load_detector(detector_path(WORLD_32))

    def shown(concept: str, when: str) -> int:
        images = found.tensors[f"{concept} {when}"].movedim(-1, 1)
        clips = images[:, None].expand(-1, 9, -1, -1, -1)
        return int(detector.judge(clips * 2 - 1).shows(concept).sum())

    assert shown("ghost", "before") >= IMAGES - 1
    assert shown("ghost", "after") <= 1
    assert shown("cat", "before") >= IMAGES - 1
    assert shown("cat", "after") >= IMAGES - 2


def test_the_file_fits_the_diffusers_models_with_that_encoder(found: Found) -> None:
    assert found.said["remaining"] < 0.5
    model = load_model("miniature-unet", device="cpu")
    assert model.with_erasure(found.encoder).erasures


def test_the_graph_s_own_clip_and_model_do_not_change(found: Found) -> None:
    assert found.said["weights"]
    assert found.said["hooks"] == 0
    assert found.said["ghost again"]
    assert found.said["cat again"]


def test_the_size_of_the_shots_is_the_latent_s_unless_it_is_set(found: Found) -> None:
    said = found.said
    assert (said["size"], said["wide"], said["usual"]) == ([32, 32], [32, 64], [512, 512])
    assert said["words"].endswith("shots of 64 x 32")


def test_a_clip_that_skips_a_layer_is_another_training(found: Found) -> None:
    """CLIP Set Last Layer leaves the weights as they are."""
    assert found.said["skips a layer"]
    assert found.said["another training"]


def test_shots_are_generated_or_given(found: Found) -> None:
    assert (found.said["shots"], found.said["given"]) == ("generated", "given")


def test_what_cannot_be_used_is_refused(found: Found) -> None:
    assert "multiples of 4" in found.said["odd size"]
    assert "Give a model, or an image model" in found.said["nothing"]
    assert "This MODEL makes images" in found.said["clips"]


def test_an_architecture_without_a_row_takes_lora_erasers_where_they_are_found_by_name(found: Found) -> None:
    said = found.said
    assert said["found"].startswith("UNetModel is not in the table of architectures; LoRA erasers sit on ")
    assert "attn2.to_k" in said["found"]
    assert said["changed by"] > 1e-3
    assert said["off"]
    assert said["without"]
    assert "no cross- or joint attention was found by name" in said["no attention"]
    assert "it is a UNetModel model" in said["other family"]


def test_the_shipped_graph_unlearns_and_draws_in_a_stock_comfyui(comfy: ComfyServer) -> None:
    """With one step of training and two of sampling: what it computes is measured above."""
    graph = json.loads((REPOSITORY / "workflows" / "api" / "erase_native_encoder.json").read_text(encoding="utf-8"))
    for node in graph.values():
        if node["class_type"] == "T2VUFewShotUnlearn":
            node["inputs"] |= {"steps": 1, "shots": 1}
        if node["class_type"] in ("KSampler", "T2VUImageModelFromComfyUI"):
            node["inputs"]["steps"] = 2
    result = queue(comfy.url, graph)
    assert result.succeeded, result.error
    before, after = (pixels(comfy, result, key) for key, node in graph.items() if node["class_type"] == "SaveImage")
    assert before.shape == after.shape == (1, 256, 256, 3)
    assert (before != after).any()
    (comfy.base / "output" / "erasures" / "ghost_encoder_native.safetensors").unlink()
