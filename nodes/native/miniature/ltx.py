"""miniature-ltx: read by ComfyUI's own loaders, as files for it would be; only its text encoder is built here."""

import json
import math
from pathlib import Path
from typing import Any

import comfy.sd
from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift

from t2vu_core.miniature.native_files import native_transformer, native_vae

from .load import Component
from .precision import PRECISIONS, stored, text_dtype
from .text import t5_clip

TEXT_TOKENS = 128
TOKENS = 5 * 4 * 4


def build(folder: Path, precision: str) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE."""
    vae = Component.read(folder / "vae")
    time, space = vae.config["temporal_compression_ratio"], vae.config["spatial_compression_ratio"]
    clip = t5_clip(folder, text_dtype(precision), length=TEXT_TOKENS, masks=True)
    return _model(folder, precision, (time, space, space)), clip, _vae(vae, time, space)


def _model(folder: Path, precision: str, scale_factors: tuple[int, int, int]) -> Any:
    parts, dtype = Component.read(folder / "transformer"), PRECISIONS[precision]
    tensors, metadata = native_transformer(parts.weights, parts.config, scale_factors)
    options = {} if dtype is None else {"dtype": dtype}
    model = comfy.sd.load_diffusion_model_state_dict(stored(tensors, precision), model_options=options, metadata=metadata)
    # ComfyUI's is for thousands of tokens; the right shift grows with their number.
    model.model.model_sampling.set_parameters(shift=_shift(folder))
    return model


def _shift(folder: Path) -> float:
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    return float(calculate_shift(TOKENS, *(config[name] for name in names)))


def _vae(parts: Component, time: int, space: int) -> Any:
    tensors, metadata = native_vae(parts.weights, parts.config)
    vae = comfy.sd.VAE(sd=tensors, metadata=metadata)
    # ComfyUI takes LTX-Video's own for every such file.
    vae.upscale_ratio = (lambda frames: max(0, (frames - 1) * time + 1), space, space)
    vae.downscale_ratio = (lambda frames: max(0, math.ceil((frames - 1) / time) + 1), space, space)
    vae.upscale_index_formula = vae.downscale_index_formula = (time, space, space)
    return vae
