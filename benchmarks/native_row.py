"""One erasing on ComfyUI's own MODEL, CLIP and VAE of a miniature, measured on them: run by native_against_folder.

Run in ComfyUI's folder: `python native_row.py OPTIONS`, with the options as JSON; the row goes to the file `out`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
from pathlib import Path
from typing import Any

from tools.comfyui.inside import PACK, start


def main(options: dict[str, Any]) -> None:
    """Load, train, measure."""
    start(*(["--cpu"] if os.environ.get("CUDA_VISIBLE_DEVICES") == "" else []))
    native, miniature = (importlib.import_module(f"{PACK}.nodes.{name}") for name in ("native", "native.miniature"))
    measured = importlib.import_module("benchmarks.native_against_folder").measured
    model, clip, vae, latent = miniature.load_miniature(options["model"], options["precision"])
    sampled = native.Sampled(options["sampling_steps"], options["cfg"], fps=options["fps"])
    made = native.model_from_comfyui([model], clip, vae, sampled, latent=latent)
    out = Path(options["out"])
    out.write_text(json.dumps(measured(made, options, out.parent)), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="native_row", description="One row of native_against_folder, which calls it.")
    parser.add_argument("options", type=json.loads, help="the row's settings as JSON")
    main(parser.parse_args().options)
