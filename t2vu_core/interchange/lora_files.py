"""Export of an eraser of the LoRA kind as LoRA files for other programs.

`diffusers`: `transformer.<module>.lora_A.weight` (`unet.` for AnimateDiff), for `pipeline.load_lora_weights`, or for
HunyuanVideo 1.5, whose pipeline has no such method, `pipeline.transformer.load_lora_adapter`.
`comfyui`: `diffusion_model.<ComfyUI's name>.lora_A.weight`, for Load LoRA with ComfyUI's own models.
Neither contains an alpha: both programs then scale by 1, as the erasers do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from safetensors.torch import save_file

from t2vu_core.erasure import SUFFIX, Erasure, atomic_path, safetensors_path
from t2vu_core.errors import UserError
from t2vu_core.interchange.comfyui_names import OWN_NAMES, Pair, to_comfyui
from t2vu_core.interchange.denoisers import STRETCHES, by_denoiser

Layout = Literal["comfyui", "diffusers"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


def export_lora(erasure: Erasure, path: str | os.PathLike[str], *, layout: Layout) -> list[Path]:
    """Write a LoRA erasure for another program; returns the files, two if the model has two denoisers.

    Raises UserError for an erasure that cannot be written as a LoRA, and for a family without known names.
    """
    pairs = lora_pairs(erasure)
    target = safetensors_path(path)
    files = []
    for ending, part in zip(file_endings(erasure), by_denoiser(pairs).values(), strict=True):
        file = target.with_name(f"{target.stem}{ending}{SUFFIX}")
        named = to_comfyui(erasure.base.family, part) if layout == "comfyui" else _to_diffusers(erasure.base.family, part)
        tensors = {
            f"{name}.lora_{letter}.weight": tensor.detach().cpu().contiguous()
            for name, pair in named.items()
            for letter, tensor in zip("AB", pair, strict=True)
        }
        with atomic_path(file) as temporary:
            save_file(tensors, str(temporary), file_metadata(erasure, layout))
        files.append(file)
    return files


def file_endings(erasure: Erasure) -> list[str]:
    """The endings of an export's file names before the suffix; empty if there is one file."""
    parts = by_denoiser(lora_pairs(erasure))
    return [""] if len(parts) == 1 else [f"_{STRETCHES[prefix]}" for prefix in parts]


def lora_pairs(erasure: Erasure) -> dict[str, Pair]:
    """The low-rank factors by site. Raises UserError for other kinds of erasures."""
    if erasure.kind != "eraser":
        raise UserError("An unlearned text encoder is no LoRA of the denoiser; export an eraser of the LoRA kind.")
    sites = sorted({key.rsplit(".", 2)[0] for key in erasure.tensors})
    pairs = {}
    for site in sites:
        down, up = (erasure.tensors.get(f"{site}.lora_{letter}.weight") for letter in "AB")
        if down is None or up is None:
            raise UserError(
                "This erasure is a bottleneck with a nonlinearity, which cannot be written as a LoRA file. "
                "Train one of the LoRA kind to export it, or apply this one with Apply Eraser or `t2vu sample --erasure`."
            )
        pairs[site] = (down, up)
    return pairs


def _to_diffusers(family: str, pairs: Mapping[str, Pair]) -> dict[str, Pair]:
    if family == "text_to_video_sd":
        raise UserError(
            "diffusers loads no LoRA into the UNet of ModelScope and ZeroScope; apply this erasure with t2vu instead."
        )
    if family.startswith(OWN_NAMES):
        raise UserError(
            f"diffusers' names of the layers are not known for {family.removeprefix(OWN_NAMES)}; export it with the layout "
            "comfyui."
        )
    denoiser = "unet" if family == "animatediff" else "transformer"
    return {f"{denoiser}.{site}": pair for site, pair in pairs.items()}


def file_metadata(erasure: Erasure, layout: Layout) -> dict[str, str]:
    """ModelSpec metadata for model managers, and the description of the exported erasure."""
    return {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{erasure.base.family}/lora",
        "modelspec.implementation": layout,
        "modelspec.title": f"Erases {', '.join(erasure.concepts)}",
        "modelspec.date": erasure.created,
        "t2vu_exported_from": json.dumps(erasure.describe()),
    }
