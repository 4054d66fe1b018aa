"""`t2vu export`: an erasure of the LoRA kind as a file for ComfyUI's Load LoRA, or for diffusers."""

from __future__ import annotations

import argparse
from typing import Any

from t2vu_core.erasure import Erasure
from t2vu_core.interchange import LAYOUTS, export_lora
from t2vu_core.interchange.comfyui_names import FIRST_VERSION

HELP = "write an eraser of the LoRA kind for ComfyUI's native models or for diffusers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The erasure, the layout and the output."""
    parser.add_argument("file", metavar="F", help="an erasure file whose erasers are LoRAs")
    parser.add_argument("--format", choices=LAYOUTS, required=True, help="who shall load it")
    parser.add_argument("--out", required=True, metavar="X", help="the file to write; .safetensors is added where it lacks")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Write the file, or two where the model has two denoisers."""
    erasure = Erasure.load(options.file)
    files = export_lora(erasure, options.out, layout=options.format)
    needs = FIRST_VERSION.get(erasure.base.family) if options.format == "comfyui" else None
    return {
        "out": [str(file) for file in files],
        "format": options.format,
        "family": erasure.base.family,
        "concepts": list(erasure.concepts),
        "needs_comfyui": needs,
    }


def show(result: dict[str, Any]) -> str:
    """The files, and what loads them."""
    lines = [f"{file}: for {result['format']}, {result['family']}" for file in result["out"]]
    if result["needs_comfyui"]:
        lines.append(f"ComfyUI has native {result['family']} models from version {result['needs_comfyui']} on.")
    return "\n".join(lines)
