"""The image model of miniature-unet as a Stable Diffusion checkpoint: ComfyUI's UNet and CLIP.

Its norms have 16 groups where ComfyUI's UNet has 32, so the layers that ComfyUI builds it from are told so.
"""

from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.ops
import comfy.supported_models_base
import comfy.utils
from diffusers import AutoencoderKL

from .load import Component
from .precision import configure, patcher_of, text_dtype
from .text import clip_l
from .vae import vae_around


class _Latents(comfy.latent_formats.LatentFormat):
    latent_channels = 12
    spacial_downscale_ratio = 4


class _Config(comfy.supported_models_base.BASE):
    unet_extra_config: dict[str, Any] = {}
    latent_format = _Latents
    # As the DDIM scheduler of the miniature: "linear" is what diffusers calls scaled_linear.
    sampling_settings = {"linear_start": 0.00085, "linear_end": 0.012, "beta_schedule": "linear", "zsnr": True}


def build(folder: Path, precision: str) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE."""
    vae = vae_around(AutoencoderKL, folder, space=4, video=False)
    scale = vae.first_stage_model.vae.config.scaling_factor
    return _model(Component.read(folder / "unet"), precision, scale), clip_l(folder, text_dtype(precision)), vae


def _model(parts: Component, precision: str, scale: float) -> Any:
    config = _Config(_unet_config(parts.config))
    config.latent_format.scale_factor = scale
    names = comfy.utils.unet_to_diffusers(config.unet_config)
    tensors = configure(config, {names[name]: tensor for name, tensor in parts.weights.items()}, precision)
    config.custom_operations = _with_groups(_operations(config), parts.config["norm_num_groups"])
    kind = comfy.model_base.ModelType.V_PREDICTION
    return patcher_of(comfy.model_base.BaseModel(config, model_type=kind), tensors)


def _unet_config(config: Any) -> dict[str, Any]:
    widths, blocks = config["block_out_channels"], config["layers_per_block"]
    levels = len(widths)
    return {
        "image_size": config["sample_size"],
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": widths[0],
        "channel_mult": [width // widths[0] for width in widths],
        "num_res_blocks": [blocks] * levels,
        "transformer_depth": [1] * (levels * blocks),
        "transformer_depth_output": [1] * (levels * (blocks + 1)),
        "transformer_depth_middle": 1,
        "context_dim": config["cross_attention_dim"],
        # In diffusers' settings of this UNet, attention_head_dim is the number of heads.
        "num_heads": config["attention_head_dim"],
        "num_head_channels": -1,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": config["use_linear_projection"],
        "use_checkpoint": False,
        "legacy": False,
    }


def _operations(config: Any) -> Any:
    dtype, compute = config.unet_config["dtype"], config.manual_cast_dtype
    if getattr(config, "scaled_fp8", None) is not None:
        return comfy.ops.scaled_fp8_ops(override_dtype=config.scaled_fp8)
    return comfy.ops.pick_operations(dtype, compute, model_config=config)


def _with_groups(operations: Any, groups: int) -> Any:
    class GroupNorm(operations.GroupNorm):
        def __init__(self, num_groups: int, num_channels: int, **options: Any) -> None:
            super().__init__(groups, num_channels, **options)

    return type(f"{operations.__name__}_{groups}_groups", (operations,), {"GroupNorm": GroupNorm})
