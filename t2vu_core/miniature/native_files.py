"""LTX-Video's parts as ComfyUI's single files: its names for the tensors, and the sizes as the file's metadata.

ComfyUI's VAE always has 128 channels at its pixel end. A narrower VAE computes the same there if each of its
channels appears several times: the norms over channels do not change, and every layer reads each channel's first
copy only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

NativeFile = tuple[dict[str, Tensor], dict[str, str]]
"""Tensors and metadata, as `safetensors.torch.save_file` takes them."""

PIXEL_END = 128
_TRANSFORMER_NAMES = (
    ("proj_in.", "patchify_proj."),
    ("time_embed.", "adaln_single."),
    ("norm_q", "q_norm"),
    ("norm_k", "k_norm"),
)
_STATISTICS = {"mean-of-means": "latents_mean", "std-of-means": "latents_std"}


def native_transformer(
    state: Mapping[str, Tensor], config: Mapping[str, Any], scale_factors: tuple[int, int, int]
) -> NativeFile:
    """The denoiser for Load Diffusion Model; `scale_factors` are the VAE's compressions of time, height and width."""
    tensors = {}
    for name, tensor in state.items():
        for ours, theirs in _TRANSFORMER_NAMES:
            name = name.replace(ours, theirs)
        tensors[name] = tensor.contiguous()
    sizes = (
        "num_layers",
        "num_attention_heads",
        "attention_head_dim",
        "cross_attention_dim",
        "caption_channels",
        "in_channels",
    )
    settings = {name: config[name] for name in sizes} | {"vae_scale_factors": list(scale_factors)}
    return tensors, {"config": json.dumps({"transformer": settings})}


def native_vae(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> NativeFile:
    """The VAE for Load VAE. Raises ValueError for one whose shape ComfyUI cannot build."""
    _check_vae(config)
    tensors = {**_encoder(state, config), **_decoder(state, config)}
    for theirs, ours in _STATISTICS.items():
        tensors[f"per_channel_statistics.{theirs}"] = state[ours].float()
    std = tensors["per_channel_statistics.std-of-means"]
    tensors["per_channel_statistics.mean-of-stds"] = torch.zeros_like(std)
    tensors["per_channel_statistics.mean-of-stds_over_std-of-means"] = torch.zeros_like(std)
    tensors["per_channel_statistics.channel"] = torch.arange(len(std)).float()
    return {name: tensor.contiguous() for name, tensor in tensors.items()}, {
        "config": json.dumps({"vae": _vae_settings(config)})
    }


def _check_vae(config: Mapping[str, Any]) -> None:
    one_stage = len(config["block_out_channels"]) == 2 and len(config["decoder_block_out_channels"]) == 1
    widths = (config["block_out_channels"][0], _decoder_width(config))
    if not one_stage or any(PIXEL_END % width for width in widths) or config["timestep_conditioning"]:
        raise ValueError("Only a VAE with one level, widths that divide 128 and no timestep conditioning can be converted.")


def _decoder_width(config: Mapping[str, Any]) -> int:
    return config["decoder_block_out_channels"][0] // config["upsample_factor"][0]


def _vae_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What ComfyUI's VideoVAE is built from. Decoder blocks are listed from the pixels on, as it reads them backwards."""
    before, after = config["decoder_layers_per_block"][::-1]
    layers, middle = config["layers_per_block"]
    first, last = config["block_out_channels"]
    encoder = [["res_x", {"num_layers": layers}], ["compress_all_res", {"multiplier": last // first}]]
    decoder = [
        ["res_x", {"num_layers": after}],
        ["compress_all", {"multiplier": config["upsample_factor"][0], "residual": False}],
        ["res_x", {"num_layers": max(before, 1)}],
    ]
    return {
        "_class_name": "CausalVideoAutoencoder",
        "dims": 3,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": config["latent_channels"],
        "encoder_blocks": [*encoder, *([["res_x", {"num_layers": middle}]] if middle else [])],
        "decoder_blocks": decoder,
        "norm_layer": "pixel_norm",
        "patch_size": config["patch_size"],
        "latent_log_var": "uniform",
        "causal_decoder": config["decoder_causal"],
        "spatial_padding_mode": "zeros",
        "timestep_conditioning": False,
    }


def _encoder(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    copies = PIXEL_END // config["block_out_channels"][0]
    names = {
        "encoder.conv_in.": "encoder.conv_in.",
        "encoder.down_blocks.0.resnets.": "encoder.down_blocks.0.res_blocks.",
        "encoder.down_blocks.0.downsamplers.0.": "encoder.down_blocks.1.",
        "encoder.mid_block.resnets.": "encoder.down_blocks.2.res_blocks.",
        "encoder.conv_out.": "encoder.conv_out.",
    }
    return _widened(state, names, copies, pixels="encoder.conv_in.", latents="encoder.conv_out.")


def _decoder(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    copies = PIXEL_END // _decoder_width(config)
    names = {
        "decoder.conv_in.": "decoder.conv_in.",
        "decoder.mid_block.resnets.": "decoder.up_blocks.0.res_blocks.",
        "decoder.up_blocks.0.upsamplers.0.": "decoder.up_blocks.1.",
        "decoder.up_blocks.0.resnets.": "decoder.up_blocks.2.res_blocks.",
        "decoder.conv_out.": "decoder.conv_out.",
    }
    tensors = _widened(state, names, copies, pixels="decoder.conv_in.", latents="decoder.conv_out.")
    if config["decoder_layers_per_block"][-1] == 0:
        # ComfyUI knows the file by a residual block that comes first: one that adds nothing.
        channels = len(tensors["decoder.conv_in.conv.bias"])
        for conv in ("conv1", "conv2"):
            name = f"decoder.up_blocks.0.res_blocks.0.{conv}.conv"
            tensors[f"{name}.weight"] = torch.zeros(channels, channels, 3, 3, 3)
            tensors[f"{name}.bias"] = torch.zeros(channels)
    return tensors


def _widened(
    state: Mapping[str, Tensor], names: Mapping[str, str], copies: int, *, pixels: str, latents: str
) -> dict[str, Tensor]:
    """Rename, and repeat every inner channel `copies` times; the layer `pixels` reads, and `latents` writes, as before."""
    tensors = {}
    for name, tensor in state.items():
        ours = next((prefix for prefix in names if name.startswith(prefix)), None)
        if ours is None:
            continue
        if tensor.ndim == 5 and ours != pixels:
            unread = tensor.new_zeros(tensor.shape[0], tensor.shape[1] * (copies - 1), *tensor.shape[2:])
            tensor = torch.cat([tensor, unread], 1)
        if ours != latents:
            tensor = tensor.repeat(copies, *(1,) * (tensor.ndim - 1))
        tensors[names[ours] + name.removeprefix(ours)] = tensor
    return tensors
