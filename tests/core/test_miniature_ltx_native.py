"""LTX-Video's parts at the miniature's size give the same results in diffusers and in ComfyUI's own code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLLTXVideo, LTXPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from t2vu_core.miniature.native_files import native_transformer, native_vae
from t2vu_core.miniature_build.ltx.architecture import ROPE_SCALE, SPATIAL_RATIO, TEMPORAL_RATIO, make_transformer, make_vae
from tools.comfyui.server import SHIM, comfyui_folder

pytestmark = pytest.mark.comfy

# Runs in ComfyUI's folder: its loaders read the two files, its code computes, and the results go into a third.
IN_COMFYUI = """
import sys
folder, sys.argv = sys.argv[1], [sys.argv[0], "--cpu", "--use-pytorch-cross-attention"]
import os; sys.path.insert(0, os.getcwd())
import comfy.options; comfy.options.enable_args_parsing()
import comfy.sd, comfy.utils, torch
from safetensors.torch import load_file, save_file
given = load_file(f"{folder}/given.safetensors")
tensors, metadata = comfy.utils.load_torch_file(f"{folder}/vae.safetensors", return_metadata=True)
vae = comfy.sd.VAE(sd=tensors, metadata=metadata)
with torch.inference_mode():
    model = comfy.sd.load_diffusion_model(f"{folder}/transformer.safetensors").model.diffusion_model
    predicted = model(given["latents"], given["sigmas"], given["text"], given["mask"])
found = {"predicted": predicted, "encoded": vae.encode(given["frames"]), "decoded": vae.decode(given["latents"][:1])}
save_file({name: value.detach().clone().contiguous() for name, value in found.items()}, f"{folder}/found.safetensors")
"""


def randomised(module: nn.Module) -> nn.Module:
    """Weights at which every path counts; fresh ones hold zeros."""
    with torch.no_grad():
        for parameter in module.parameters():
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.copy_(torch.randn(parameter.shape) * scale)
    return module.eval()


def given_inputs() -> dict[str, Tensor]:
    mask = torch.zeros(2, 128, dtype=torch.long)
    mask[0, :9], mask[1, :30] = 1, 1
    return {
        "latents": torch.randn(2, 128, 5, 4, 4),
        "sigmas": torch.tensor([0.7, 0.4]),
        "text": torch.randn(2, 128, 128),
        "mask": mask,
        "frames": torch.rand(9, 64, 64, 3),
    }


def in_comfyui(folder: Path) -> dict[str, Tensor]:
    command = [os.environ.get("COMFYUI_PYTHON") or sys.executable, "-c", IN_COMFYUI, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(SHIM)}
    subprocess.run(command, cwd=comfyui_folder(), env=environment, check=True, capture_output=True)
    return load_file(folder / "found.safetensors")


def in_diffusers(given: dict[str, Tensor], transformer: nn.Module, vae: AutoencoderKLLTXVideo) -> dict[str, Tensor]:
    mean, std = (value.view(1, -1, 1, 1, 1) for value in (vae.latents_mean, vae.latents_std))
    predicted = transformer(
        LTXPipeline._pack_latents(given["latents"]),
        given["text"],
        given["sigmas"] * 1000,
        given["mask"],
        num_frames=5,
        height=4,
        width=4,
        rope_interpolation_scale=ROPE_SCALE,
        return_dict=False,
    )[0]
    pixels = given["frames"].permute(3, 0, 1, 2)[None] * 2 - 1
    decoded = vae.decode(given["latents"][:1] * std + mean).sample / 2 + 0.5
    return {
        "predicted": LTXPipeline._unpack_latents(predicted, 5, 4, 4),
        "encoded": (vae.encode(pixels).latent_dist.mode() - mean) / std,
        "decoded": decoded.clamp(0, 1).movedim(1, -1),
    }


@torch.no_grad()
@pytest.mark.parametrize(
    "shape",
    [{}, {"encoder_width": 64, "width": 32, "encoder_layers": 2, "decoder_layers": (1, 3)}],
    ids=["miniature", "narrower and deeper"],
)
def test_predictions_and_pictures_are_the_same_in_comfyui(shape: dict[str, object], tmp_path: Path) -> None:
    torch.manual_seed(3)
    transformer, vae, given = randomised(make_transformer()), randomised(make_vae(**shape)), given_inputs()  # type: ignore[arg-type]
    assert isinstance(vae, AutoencoderKLLTXVideo)
    vae.latents_mean.copy_(torch.randn(128))
    vae.latents_std.copy_(torch.rand(128) + 0.5)
    scales = (TEMPORAL_RATIO, SPATIAL_RATIO, SPATIAL_RATIO)
    for name, (tensors, metadata) in {
        "transformer": native_transformer(transformer.state_dict(), transformer.config, scales),  # type: ignore[arg-type]
        "vae": native_vae(vae.state_dict(), vae.config),
    }.items():
        save_file(tensors, tmp_path / f"{name}.safetensors", metadata=metadata)
    save_file(given, tmp_path / "given.safetensors")
    found = in_comfyui(tmp_path)
    for name, expected in in_diffusers(given, transformer, vae).items():
        assert expected.std() > 0.01
        assert (found[name].view_as(expected) - expected).norm() < 1e-5 * expected.norm(), name


def test_a_vae_that_comfyui_cannot_build_is_refused() -> None:
    config = dict(make_vae().config) | {"block_out_channels": (48, 128)}
    with pytest.raises(ValueError, match="widths that divide 128"):
        native_vae({}, config)
