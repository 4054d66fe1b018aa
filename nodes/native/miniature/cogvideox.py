"""miniature as ComfyUI's CogVideoX.

Its heads have 32 channels, which ComfyUI's loader takes for 64, so the model is built here from its config. It samples
with V_PREDICTION: what ComfyUI takes for CogVideoX, V_PREDICTION_DDPM, draws nothing under KSampler.
"""

from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.supported_models
import torch
from diffusers import AutoencoderKLLTXVideo
from diffusers.models.embeddings import get_3d_sincos_pos_embed
from torch import Tensor

from .load import Component
from .precision import configure, patcher_of, text_dtype
from .text import t5_clip
from .vae import vae_around

TEXT_TOKENS = 48
_NAMES = (
    ("transformer_blocks.", "blocks."),
    (".attn1.to_out.0.", ".attn_out."),
    (".attn1.to_", "."),
    (".attn1.norm_", ".norm_"),
    (".ff.net.0.proj.", ".ff_proj."),
    (".ff.net.2.", ".ff_out."),
    ("time_embedding.linear_", "time_embedding_linear_"),
)
_SETTINGS = (
    "num_attention_heads", "attention_head_dim", "time_embed_dim", "num_layers", "in_channels", "out_channels", "patch_size",
    "text_embed_dim", "sample_width", "sample_height", "sample_frames", "temporal_compression_ratio", "max_text_seq_length",
)  # fmt: skip


class _Latents(comfy.latent_formats.CogVideoX):
    latent_channels = 12
    temporal_downscale_ratio = 1
    spacial_downscale_ratio = 4


class _Config(comfy.supported_models.CogVideoX_T2V):
    latent_format = _Latents


def build(folder: Path, precision: str) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE."""
    vae = vae_around(AutoencoderKLLTXVideo, folder, space=4, video=True)
    clip = t5_clip(folder, text_dtype(precision), length=TEXT_TOKENS, masks=False)
    scale = vae.first_stage_model.vae.config.scaling_factor
    return _model(Component.read(folder / "transformer"), precision, scale), clip, vae


def _model(parts: Component, precision: str, scale: float) -> Any:
    settings = {name: parts.config[name] for name in _SETTINGS}
    positions = {"use_rotary_positional_embeddings": False, "use_learned_positional_embeddings": True}
    config = _Config({"image_model": "cogvideox", **settings, **positions})
    config.latent_format.scale_factor = scale
    weights = {_native_name(name): tensor for name, tensor in parts.weights.items()}
    weights["patch_embed.pos_embedding"] = _positions(parts)
    tensors = configure(config, weights, precision)
    kind = comfy.model_base.ModelType.V_PREDICTION
    return patcher_of(comfy.model_base.CogVideoX(config, model_type=kind), tensors)


def _native_name(name: str) -> str:
    for ours, theirs in _NAMES:
        name = name.replace(ours, theirs)
    return name


def _positions(parts: Component) -> Tensor:
    """The sinusoids that diffusers computes, where ComfyUI reads learned positions; the text has none."""
    config = parts.config
    width = config["num_attention_heads"] * config["attention_head_dim"]
    side = config["sample_width"] // config["patch_size"]
    frames = (config["sample_frames"] - 1) // config["temporal_compression_ratio"] + 1
    scales = config["spatial_interpolation_scale"], config["temporal_interpolation_scale"]
    video = get_3d_sincos_pos_embed(width, (side, side), frames, *scales, output_type="pt").flatten(0, 1).float()
    return torch.cat([torch.zeros(config["max_text_seq_length"], width), video])[None]
