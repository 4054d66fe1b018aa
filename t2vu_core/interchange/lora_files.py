"""LoRA files for other programs, made from an erasure of the LoRA kind.

`diffusers`: `transformer.<module>.lora_A.weight` (`unet.` for AnimateDiff), what `pipeline.load_lora_weights` reads, and for
HunyuanVideo 1.5, whose pipeline has no such method, `pipeline.transformer.load_lora_adapter`.
`comfyui`: `diffusion_model.<ComfyUI's own name>.lora_A.weight`, what Load LoRA applies to native models.
Neither holds an alpha: both readers then scale by 1, as the erasers do.
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
from t2vu_core.interchange.comfyui_names import Pair, to_comfyui

Layout = Literal["comfyui", "diffusers"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
SECOND_DENOISER = "transformer_2."
STRETCHES = {"": "high_noise", SECOND_DENOISER: "low_noise"}
"""What the world calls the files of Wan 2.2's two denoisers, which every program loads one by one."""


def export_lora(erasure: Erasure, path: str | os.PathLike[str], *, layout: Layout) -> list[Path]:
    """Write a LoRA erasure for another program; returns the files, two where the model has two denoisers.

    Raises UserError for an erasure that no LoRA can say, and for a family whose names are not known.
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
            save_file(tensors, str(temporary), _metadata(erasure, layout))
        files.append(file)
    return files


def file_endings(erasure: Erasure) -> list[str]:
    """What the names of an export's files end in, before the suffix: nothing where there is one file."""
    parts = by_denoiser(lora_pairs(erasure))
    return [""] if len(parts) == 1 else [f"_{STRETCHES[prefix]}" for prefix in parts]


def lora_pairs(erasure: Erasure) -> dict[str, Pair]:
    """The low-rank factors by site; UserError for every other kind of erasure."""
    if erasure.kind != "eraser":
        raise UserError("An unlearned text encoder is no LoRA of the denoiser; only erasers of the LoRA kind are exported.")
    sites = sorted({key.rsplit(".", 2)[0] for key in erasure.tensors})
    pairs = {}
    for site in sites:
        down, up = (erasure.tensors.get(f"{site}.lora_{letter}.weight") for letter in "AB")
        if down is None or up is None:
            raise UserError(
                "This erasure is a bottleneck with a nonlinearity between its layers, which no LoRA file can say. "
                "Train one of the LoRA kind to export it, or apply this one with Apply Eraser or `t2vu sample --erasure`."
            )
        pairs[site] = (down, up)
    return pairs


def by_denoiser(pairs: Mapping[str, Pair]) -> dict[str, dict[str, Pair]]:
    """The pairs of each denoiser, named as if there were only one."""
    parts: dict[str, dict[str, Pair]] = {}
    for site, pair in pairs.items():
        prefix = SECOND_DENOISER if site.startswith(SECOND_DENOISER) else ""
        parts.setdefault(prefix, {})[site.removeprefix(prefix)] = pair
    return parts


def _to_diffusers(family: str, pairs: Mapping[str, Pair]) -> dict[str, Pair]:
    if family == "text_to_video_sd":
        raise UserError("diffusers loads no LoRA into ModelScope's and ZeroScope's UNet; apply this erasure with t2vu instead.")
    denoiser = "unet" if family == "animatediff" else "transformer"
    return {f"{denoiser}.{site}": pair for site, pair in pairs.items()}


def _metadata(erasure: Erasure, layout: Layout) -> dict[str, str]:
    """ModelSpec for model managers, and where the file comes from."""
    return {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{erasure.base.family}/lora",
        "modelspec.implementation": layout,
        "modelspec.title": f"Erases {', '.join(erasure.concepts)}",
        "modelspec.date": erasure.created,
        "t2vu_exported_from": json.dumps(erasure.describe()),
    }
