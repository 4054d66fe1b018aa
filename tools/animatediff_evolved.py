"""Tries an unlearned CLIP in another pack: `python -m tools.animatediff_evolved --pack DIR`, of ComfyUI-AnimateDiff-Evolved.

The graph of erase_native_encoder samples in that pack's sliding context windows, without a motion module: those have fixed
sizes, which the bundled model does not fit. COMFYUI_DIR and COMFYUI_PYTHON choose another ComfyUI, as for ./run.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
import torch
from PIL import Image

from t2vu_core.miniature.detector import MiniatureDetector, detector_path, load_detector
from t2vu_core.miniature.worlds import WORLD_32
from tools.comfyui import ComfyServer, Result, queue
from tools.comfyui.client import Graph
from tools.comfyui.server import REPOSITORY
from tools.other_packs import in_pack
from tools.say import complain, say

FRAMES, WINDOW, OVERLAP = 16, 8, 2
PATIENCE = 7200.0
"""Seconds for a graph: the first one trains."""
PROMPTS = {"ghost": "a ghost under a starry night", "cat": "a cat on a green meadow"}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.animatediff_evolved", description=__doc__.split("\n")[0])
    return in_pack(parser, "AnimateDiff-Evolved", _try, arguments)


def _try(server: ComfyServer) -> int:
    """Count the frames that show each subject, before and after; 0 if all graphs ran."""
    detector = load_detector(detector_path(WORLD_32))
    for subject, prompt in PROMPTS.items():
        result = queue(server.url, _graph(prompt), timeout=PATIENCE)
        if not result.succeeded:
            complain(f"{subject}: {result.error}")
            return 1
        before, after = (_shows(detector, _frames(server, result, key), subject) for key in ("before", "after"))
        say(f"{subject}: in {before} of {FRAMES} frames before, in {after} after")
    return 0


def _graph(prompt: str) -> Graph:
    """The shipped graph, with a batch of frames in windows of that pack."""
    path = REPOSITORY / "workflows" / "api" / "erase_native_encoder.json"
    graph: Graph = json.loads(path.read_text(encoding="utf-8"))
    graph["windows"] = _node("ADE_StandardStaticContextOptions", context_length=WINDOW, context_overlap=OVERLAP)
    graph["evolved"] = _node(
        "ADE_UseEvolvedSampling", model=["2", 0], beta_schedule="autoselect", context_options=["windows", 0]
    )
    graph["batch"] = _node("RepeatLatentBatch", samples=["2", 3], amount=FRAMES)
    for entry in list(graph.values()):
        if entry["class_type"] == "KSampler":
            entry["inputs"] |= {"model": ["evolved", 0], "latent_image": ["batch", 0]}
        elif entry["class_type"] == "CLIPTextEncode" and entry["inputs"]["text"]:
            entry["inputs"]["text"] = prompt
    first, second = (key for key, entry in graph.items() if entry["class_type"] == "VAEDecode")
    unused = [key for key, entry in graph.items() if entry["class_type"] in ("ImageScaleBy", "SaveImage", "PreviewImage")]
    for key in unused:
        del graph[key]
    frames = {"before": first, "after": second}
    return graph | {name: _node("SaveImage", images=[key, 0], filename_prefix=name) for name, key in frames.items()}


def _node(kind: str, /, **inputs: object) -> dict[str, object]:
    return {"class_type": kind, "inputs": inputs}


def _frames(server: ComfyServer, result: Result, key: str) -> torch.Tensor:
    """(F, 3, H, W) in [0, 1]."""
    pictures = [np.array(Image.open(server.file(item)).convert("RGB")) for item in result.files(key)]
    return torch.from_numpy(np.stack(pictures)).float().movedim(-1, 1) / 255


def _shows(detector: MiniatureDetector, frames: torch.Tensor, subject: str) -> int:
    """In how many frames the detector sees it, which judges clips: each frame is one that stands still."""
    clips = frames[:, None].expand(-1, 9, -1, -1, -1)
    return int(detector.judge(clips * 2 - 1).shows(subject).sum())


if __name__ == "__main__":
    sys.exit(main())
