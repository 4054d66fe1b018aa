"""`t2vu export`: write an eraser or an unlearned encoder as a LoRA file for ComfyUI, or an eraser for diffusers."""

from __future__ import annotations

import argparse
from typing import Any

from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.interchange import LAYOUTS, export_encoder, export_lora
from t2vu_core.interchange.comfyui_names import FIRST_VERSION
from t2vu_core.interchange.lora_files import lora_pairs
from t2vu_core.interchange.merge_error import MergedInto, MergeError, merge_error
from t2vu_core.model import load_model

HELP = "write an erasure as a LoRA file for ComfyUI's own models, or an eraser for diffusers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The erasure, the layout and the output."""
    parser.add_argument("file", metavar="F", help="an erasure file: an eraser of the kind lora, or an unlearned encoder")
    parser.add_argument("--format", choices=LAYOUTS, required=True, help="whose layer names to use")
    parser.add_argument("--out", required=True, metavar="X", help="the file to write (.safetensors)")
    parser.add_argument(
        "--rank",
        type=int,
        metavar="N",
        help="for an unlearned encoder: write its best low-rank factors of rank N, a smaller, approximate file",
    )
    parser.add_argument(
        "--model", metavar="M", help="for an eraser: its model; measures what merging into fp8 weights rounds away"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Write the file, or two files for a model with two denoisers."""
    erasure = Erasure.load(options.file)
    if erasure.kind == "unlearned_encoder":
        if options.model is not None:
            raise UserError(
                "--model measures the merging of erasers; an unlearned encoder is not merged into a denoiser. Remove --model."
            )
        return _run_encoder(erasure, options)
    if options.rank is not None:
        raise UserError("--rank is for unlearned encoders; an eraser keeps the rank that it was trained with. Remove --rank.")
    merged = _merged(erasure, options.model) if options.model else None
    files = export_lora(erasure, options.out, layout=options.format)
    needs = FIRST_VERSION.get(erasure.base.family) if options.format == "comfyui" else None
    return {
        "out": [str(file) for file in files],
        "format": options.format,
        "family": erasure.base.family,
        "concepts": list(erasure.concepts),
        "needs_comfyui": needs,
        "fp8_change": merged and merged.change,
        "fp8_error": merged and merged.error,
        "fp8": merged and str(merged),
    }


def _merged(erasure: Erasure, source: str) -> MergeError:
    """What merging the LoRA into the model's weights, rounded to fp8, does to it. The model must be the erasure's."""
    model = load_model(source, device="cpu")
    model.with_erasure(erasure)
    modules = {site.name: site.module for site in model.family.lora_sites()}
    return merge_error(lora_pairs(erasure), lambda name: MergedInto(modules[name].get_parameter("weight")), simulated=True)


def _run_encoder(erasure: Erasure, options: argparse.Namespace) -> dict[str, Any]:
    if options.format != "comfyui":
        raise UserError(
            "An unlearned encoder is exported for ComfyUI only, because a LoRA file for diffusers cannot change biases: use "
            "--format comfyui."
        )
    written = export_encoder(erasure, options.out, rank=options.rank)
    return {
        "out": [str(written.file)],
        "format": options.format,
        "family": f"{erasure.base.family} text encoder",
        "concepts": list(erasure.concepts),
        "needs_comfyui": None,
        "bytes": written.num_bytes,
        "error": written.error,
    }


def show(result: dict[str, Any]) -> str:
    """The files, and what loads them."""
    lines = [f"{file}: for {result['format']}, {result['family']}" for file in result["out"]]
    if result["needs_comfyui"]:
        lines.append(f"ComfyUI has {result['family']} models of its own from version {result['needs_comfyui']}.")
    if result.get("fp8"):
        lines.append(f"Of this LoRA, {result['fp8']}; Apply Eraser (MODEL) merges nothing.")
    elif "fp8" in result and result["format"] == "comfyui":
        lines.append(
            "In fp8 models merging rounds a small change away: --model measures it, and Apply Eraser (MODEL) merges nothing."
        )
    if "error" in result:
        exact = f"the factors leave out {result['error']:.1%} of the change" if result["error"] else "exact"
        lines.append(f"{result['bytes'] / 2**20:.1f} MiB, {exact}; Load LoRA applies it to the CLIP.")
    return "\n".join(lines)
