"""What the nodes of one checkout make of stored graphs: their frames and erasure files, from a real ComfyUI.

`tools.compare_checkouts` starts this module with PYTHONPATH set to a folder that offers the checkout's `t2vu_core`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from tools.comfyui import ComfyServer, NoServer, Result, queue
from tools.comfyui.client import Graph
from tools.say import say

SHORT: dict[str, dict[str, Any]] = {
    "T2VUVelocityErase": {"steps": 2},
    "T2VUFewShotUnlearn": {"steps": 2, "shots": 2},
    "T2VUSampleVideo": {"steps": 4},
    "T2VUCompare": {"steps": 4},
}
"""Inputs of nodes that make a graph quick; all others are as stored."""
VIDEO_NODES = ("ImageScaleBy", "CreateVideo", "SaveVideo")
"""What is left out: compressed video hides small differences."""
FRAMES = {"ImageStitch": (0,), "T2VUCompare": (2, 3)}
"""Outputs with the frames of clips."""


def shortened(graph: Graph, seed: int) -> Graph:
    """The graph with few steps and another seed, that saves its frames as they are in place of videos."""
    short: Graph = {}
    for key, node in graph.items():
        kind = node["class_type"]
        if kind in VIDEO_NODES:
            continue
        inputs = {**node["inputs"], **SHORT.get(kind, {})}
        if "seed" in inputs and not isinstance(inputs["seed"], list):
            inputs["seed"] = seed
        short[key] = {**node, "inputs": inputs}
        for output in FRAMES.get(kind, ()):
            inputs = {"images": [key, output], "filename_prefix": f"frames{key}_{output}"}
            short[f"frames {key} {output}"] = {"class_type": "SaveImage", "inputs": inputs}
    return short


def run_graphs(server: ComfyServer, graphs: Path, out: Path, seed: int) -> None:
    """Queue every stored graph; what it gives lies in `out` under the graph's name."""
    for file in sorted(graphs.glob("*.json")):
        say(f"  graph: {file.stem}")
        result = queue(server.url, shortened(json.loads(file.read_text("utf-8")), seed))
        folder = out / file.stem
        folder.mkdir(parents=True)
        if not result.succeeded or result.node_errors:
            (folder / "error.json").write_text(json.dumps({"error": result.error, "nodes": sorted(result.node_errors)}))
            continue
        save_file(_frames(server, result), folder / "frames.safetensors")
        for erasure in (server.base / "output" / "erasures").glob("*.safetensors"):
            shutil.move(erasure, folder / erasure.name)


def _frames(server: ComfyServer, result: Result) -> dict[str, torch.Tensor]:
    """By node that saved images: (F, H, W, 3) uint8."""
    saved = {node: result.files(node) for node in result.outputs if node.startswith("frames ")}
    return {node: torch.from_numpy(np.stack([_pixels(server.file(item)) for item in items])) for node, items in saved.items()}


def _pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.array(image.convert("RGB"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", type=Path, help="the checkout whose nodes are used")
    parser.add_argument("graphs", type=Path, help="a folder of graphs in API format")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        with ComfyServer(options.out / "scratch" / "comfyui", pack=options.pack.resolve()) as server:
            run_graphs(server, options.graphs, options.out / "graphs", options.seed)
    except NoServer as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
