"""Export of an unlearned text encoder for ComfyUI's Load LoRA, which applies it to a CLIP.

`text_encoders.<clip>.transformer.<layer>.diff` is the change of a weight and `.diff_b` that of a bias; `.lora_A.weight`
and `.lora_B.weight` are low-rank factors of a change. Layer names are those of transformers; only the prefixes differ.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from t2vu_core.erasers import BottleneckEraser, EraserSet
from t2vu_core.erasure import Erasure, atomic_path, safetensors_path
from t2vu_core.errors import UserError
from t2vu_core.interchange.lora_files import file_metadata

CLIP_BY_WIDTH = {1024: "clip_h", 1280: "clip_g"}
CLIPS = {
    "clip": "clip_l", "t5": "t5xxl", "umt5": "umt5xxl", "llama": "llama", "mistral": "mistral3_24b", "qwen2": "qwen25_7b",
    "qwen3": "qwen3_4b", "gemma2": "gemma2_2b", "gemma3": "gemma3_12b",
}  # fmt: skip
"""ComfyUI's names of the encoders inside its CLIP objects."""


@dataclass(frozen=True)
class EncoderExport:
    """The written file, and the relative error (by norm, 0 to 1) of the low-rank approximation."""

    file: Path
    num_bytes: int
    error: float


def export_encoder(erasure: Erasure, path: str | os.PathLike[str], *, rank: int | None = None) -> EncoderExport:
    """Write an unlearned encoder for Load LoRA: exactly, or with `rank` as the best factors of that rank.

    Raises UserError for another kind of erasure, for tensors that do not belong to an encoder, for a rank below one, and for
    an encoder without a known name in ComfyUI.
    """
    target = safetensors_path(path)
    if rank is not None and rank < 1:
        raise UserError(f"The rank must be at least 1, not {rank}.")
    check_tensors(erasure)
    tensors, error = comfyui_tensors(erasure, clip_names(erasure), rank=rank)
    with atomic_path(target) as temporary:
        save_file(tensors, str(temporary), file_metadata(erasure, "comfyui"))
    return EncoderExport(target, target.stat().st_size, error)


def clip_names(erasure: Erasure) -> dict[str, str]:
    """The name inside ComfyUI's CLIP of each text encoder of the pipeline."""
    names = {}
    for component, fact in components(erasure).items():
        if fact["kind"] not in CLIPS:
            raise UserError(f"ComfyUI's name of a {fact['kind']} text encoder is not known; known are {', '.join(CLIPS)}.")
        by_width = CLIP_BY_WIDTH.get(fact["width"]) if fact["kind"] == "clip" else None
        names[component] = by_width or CLIPS[fact["kind"]]
    return names


def components(erasure: Erasure) -> Mapping[str, Mapping]:
    """The erasure's description of its encoders. Raises UserError if it is an eraser of a denoiser."""
    if erasure.kind != "unlearned_encoder" or erasure.encoder is None:
        raise UserError("This erasure is an eraser of a denoiser; here an unlearned text encoder is needed.")
    found: Mapping[str, Mapping] = erasure.encoder["components"]
    return found


def check_tensors(erasure: Erasure) -> None:
    """Raise UserError unless all tensors are changes, full or low-rank, of layers of the erasure's encoders."""
    known = components(erasure)
    for fact in known.values():
        if not isinstance(fact["kind"], str) or not all(isinstance(fact[number], int) for number in ("width", "layers")):
            raise UserError(
                "The unlearned encoder does not state the kind and size of its text encoders. Download the file again."
            )
    for site, eraser in EraserSet.from_tensors(erasure.tensors).items():
        component, _, layer = site.partition(".")
        if component not in known or not layer:
            raise UserError(
                f"The unlearned encoder changes {site}, which is no layer of {' or '.join(known)}. Download the file again."
            )
        if isinstance(eraser, BottleneckEraser):
            raise UserError(
                f"The unlearned encoder changes {site} by a bottleneck, which cannot be written as a change of weights."
            )


def comfyui_tensors(erasure: Erasure, clips: Mapping[str, str], *, rank: int | None = None) -> tuple[dict[str, Tensor], float]:
    """The file's tensors by ComfyUI's names, and the relative error of the low-rank approximation."""
    kinds = {component: fact["kind"] for component, fact in components(erasure).items()}
    tensors: dict[str, Tensor] = {}
    lost = whole = 0.0
    for key, tensor in sorted(erasure.tensors.items()):
        site, module, parameter = key.rsplit(".", 2)
        component, layer = site.split(".", 1)
        name = f"text_encoders.{clips[component]}.transformer.{comfyui_layer(kinds[component], layer)}"
        if module in ("lora_A", "lora_B"):
            tensors[f"{name}.{module}.weight"] = tensor.contiguous()
        elif parameter == "bias":
            tensors[f"{name}.diff_b"] = tensor.contiguous()
        elif rank is None or rank >= min(tensor.shape):
            tensors[f"{name}.diff"] = tensor.contiguous()
        else:
            down, up = low_rank(tensor.float(), rank)
            tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = down.contiguous(), up.contiguous()
            lost += float((tensor.float() - up @ down).pow(2).sum())
        whole += float(tensor.float().pow(2).sum())
    return tensors, (lost / whole) ** 0.5 if whole else 0.0


def low_rank(change: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best factors (rank, in) and (out, rank) of a change (out, in), by singular value decomposition."""
    left, values, right = torch.linalg.svd(change, full_matrices=False)
    root = values[:rank].sqrt()
    return root[:, None] * right[:rank], left[:, :rank] * root


def comfyui_layer(kind: str, layer: str) -> str:
    """A layer's name in ComfyUI's encoder."""
    if kind == "clip":
        return f"text_model.{layer}"
    if kind in ("t5", "umt5"):
        return "shared" if layer == "encoder.embed_tokens" else layer
    return f"model.{layer}"
