"""One erasing on ComfyUI's own MODEL, CLIP and VAE of a miniature, measured on them: run by native_against_folder.

Run in ComfyUI's folder: `python native_row.py OPTIONS`, with the options as JSON; the row goes to the file `out`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]


def pack() -> Any:
    """ComfyUI, and this pack in it as ComfyUI loads it: its own module `nodes` keeps its name."""
    sys.path.insert(0, os.getcwd())
    sys.argv = [sys.argv[0], *(["--cpu"] if os.environ.get("CUDA_VISIBLE_DEVICES") == "" else [])]
    importlib.import_module("comfy.options").enable_args_parsing()
    # Its name is taken later by a module of another package.
    importlib.import_module("utils.install_util")
    spec = importlib.util.spec_from_file_location(
        "t2vu_pack", REPOSITORY / "__init__.py", submodule_search_locations=[str(REPOSITORY)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["t2vu_pack"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return importlib.import_module("t2vu_pack.nodes.native")


def main(options: dict[str, Any]) -> None:
    """Load, train, measure."""
    native = pack()
    miniature = importlib.import_module("t2vu_pack.nodes.native.miniature")
    measured = importlib.import_module("benchmarks.native_against_folder").measured
    model, clip, vae, latent = miniature.load_miniature(options["model"], options["precision"])
    sampled = native.Sampled(options["sampling_steps"], options["cfg"], fps=options["fps"])
    made = native.model_from_comfyui([model], clip, vae, sampled, latent=latent)
    row = measured(made, options)
    Path(options["out"]).write_text(json.dumps(row), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="native_row", description="One row of native_against_folder, which calls it.")
    parser.add_argument("options", type=json.loads, help="the row's settings as JSON")
    main(parser.parse_args().options)
