"""`t2vu export`: write an eraser or an unlearned encoder as a LoRA file for ComfyUI, or an eraser for diffusers."""

from __future__ import annotations

import argparse
from typing import Any

from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.interchange import LAYOUTS, export_encoder, export_lora
from t2vu_core.interchange.comfyui_names import FIRST_VERSION

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


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Write the file, or two files for a model with two denoisers."""
    erasure = Erasure.load(options.file)
    if erasure.kind == "unlearned_encoder":
        return _run_encoder(erasure, options)
    if options.rank is not None:
        raise UserError("--rank is for unlearned encoders; an eraser keeps the rank that it was trained with. Remove --rank.")
    files = export_lora(erasure, options.out, layout=options.format)
    needs = FIRST_VERSION.get(erasure.base.family) if options.format == "comfyui" else None
    return {
        "out": [str(file) for file in files],
        "format": options.format,
        "family": erasure.base.family,
        "concepts": list(erasure.concepts),
        "needs_comfyui": needs,
    }


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
    if "error" in result:
        exact = f"the factors leave out {result['error']:.1%} of the change" if result["error"] else "exact"
        lines.append(f"{result['bytes'] / 2**20:.1f} MiB, {exact}; Load LoRA applies it to the CLIP.")
    return "\n".join(lines)
