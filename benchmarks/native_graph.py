"""The shipped graph `erase_native` in a real ComfyUI, queued over HTTP and judged by the miniature's detector.

`python -m benchmarks.native_graph --model miniature-ltx` starts ComfyUI and, for each kind of eraser and each precision of the
MODEL, trains an eraser in the graph and samples each prompt with KSampler, with the MODEL as loaded and with the eraser. It
prints how many clips show the subject of their prompt. It can be resumed; native_graph-MODEL.json in the output folder holds
the rows, and `--save` also writes them to benchmarks/results. COMFYUI_DIR and COMFYUI_PYTHON choose another ComfyUI; the model
miniature needs version 0.21.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.native_against_folder import KINDS, PRECISIONS, not_measured, preset_of
from t2vu_core import __version__, load_model
from t2vu_core.errors import UserError
from t2vu_core.evaluation.detectors import WorldDetector
from t2vu_core.model import T2VModel
from t2vu_core.recipes import PRESETS, VelocityRecipe
from tools.comfyui import ComfyServer, NoServer, queue
from tools.comfyui.client import Graph, Result
from tools.comfyui.server import REPOSITORY
from tools.demo_prompts import Pair, demo_pairs

GRAPH = REPOSITORY / "workflows" / "api" / "erase_native.json"
CONCEPT = "ghost"
WHEN = {"before": "As loaded", "after": "With the eraser"}
"""When a clip is sampled, and the title of the KSampler in the graph."""
TIMEOUT = 1800.0


def main(arguments: list[str] | None = None) -> int:
    """Make the rows that are missing; print the table."""
    options = _parser().parse_args(arguments)
    try:
        print(table(run(options)))
    except (NoServer, UserError) as error:
        print(f"native_graph: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One row per kind and precision; the file is updated after each."""
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    name = f"native_graph-{options.model}.json"
    board: dict[str, Any] = json.loads((out / name).read_text("utf-8")) if (out / name).is_file() else {"rows": []}
    missing = [cell for cell in _cells(options) if not any(cell.items() <= row.items() for row in board["rows"])]
    if missing:
        with tempfile.TemporaryDirectory(prefix="t2vu-native-") as base, ComfyServer(Path(base)) as server:
            for cell in missing:
                print(f"{cell['kind']} on {cell['precision']}", file=sys.stderr)
                board["rows"].append({**cell, **measured(server, cell)})
                (out / name).write_text(json.dumps(board, indent=1) + "\n", encoding="utf-8")
    if options.save:
        (REPOSITORY / "benchmarks" / "results" / name).write_text(json.dumps(board, indent=1) + "\n", encoding="utf-8")
    return board


def _cells(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row counts if it was made with these settings on the same weights by the same version."""
    asked = {name: getattr(options, name) for name in ("model", "preset", "pairs")}
    same = {**asked, "base": load_model(options.model).base.hash, "version": __version__}
    for kind, precision in product(options.kinds, options.precisions):
        yield {**same, "kind": kind, "precision": precision}


def measured(server: ComfyServer, cell: Mapping[str, Any]) -> dict[str, Any]:
    """Queue the graph once per pair of prompts: ComfyUI trains in the first one and keeps the eraser."""
    model, start, training = load_model(cell["model"]), time.monotonic(), 0.0
    shown = {f"{what}_{when}": 0 for what in ("concept", "other") for when in WHEN}
    pairs = demo_pairs(CONCEPT, cell["pairs"])
    for pair in pairs:
        for what, prompt, subject in (("concept", pair.concept_prompt, CONCEPT), ("other", pair.other_prompt, pair.other)):
            result = queue(server.url, filled(cell, model, prompt, pair), timeout=TIMEOUT)
            if not result.succeeded:
                raise NoServer(f"ComfyUI could not run the graph: {result.error or result.node_errors}")
            training = training or time.monotonic() - start
            for when in WHEN:
                shown[f"{what}_{when}"] += shows(_clip(server, result, when), model, subject)
    version = server.get("/system_stats")["system"].get("comfyui_version", "")
    return {"comfyui": version, "clips": len(pairs), "first_queue_seconds": round(training), **shown}


def filled(cell: Mapping[str, Any], model: T2VModel, prompt: str, pair: Pair) -> Graph:
    """The shipped graph with the values of a row and of a prompt; the frames are saved without loss."""
    graph: Graph = json.loads(GRAPH.read_text(encoding="utf-8"))
    by_title = {node["_meta"]["title"]: (key, node["inputs"]) for key, node in graph.items()}
    usual = model.family.defaults
    sampled = {"steps": usual.num_inference_steps, "cfg": usual.guidance_scale}
    by_title["Load Miniature"][1].update(name=cell["model"], precision=cell["precision"])
    by_title["T2V Model from ComfyUI"][1].update(**sampled, fps=usual.fps)
    by_title["Velocity Erase Fine-tune"][1].update(concept=CONCEPT, preset=cell["preset"], kind=cell["kind"])
    by_title["Prompt with the concept"][1]["text"] = prompt
    for when, title in WHEN.items():
        key, inputs = by_title[title]
        inputs.update(**sampled, seed=pair.seed)
        (decoded,) = [name for name, node in graph.items() if node["inputs"].get("samples") == [key, 0]]
        graph[when] = {"class_type": "SaveImage", "inputs": {"images": [decoded, 0], "filename_prefix": when}}
    return graph


def shows(clip: Tensor, model: T2VModel, subject: str) -> bool:
    """Whether the detector sees the subject in a clip (F, 3, H, W)."""
    return WorldDetector.for_model(model).judge(clip[None], [subject])[0].shown[subject]


def _clip(server: ComfyServer, result: Result, when: str) -> Tensor:
    pictures = [np.array(Image.open(server.file(item)).convert("RGB")) for item in result.files(when)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def table(board: Mapping[str, Any]) -> str:
    """The rows as a Markdown table."""
    lines = ["| eraser | MODEL | ghost shown before | after | others shown before | after |", "|---|---|---|---|---|---|"]
    for row in board["rows"]:
        shares = [f"{row[f'{what}_{when}']} of {row['clips']}" for what in ("concept", "other") for when in WHEN]
        lines.append(f"| {row['kind']} | {row['precision']} | {' | '.join(shares)} |")
    return "\n".join(lines)


def document(board: Mapping[str, Any]) -> str:
    """The table with what it was measured on."""
    first = board["rows"][0]
    left = not_measured({(row["kind"], row["precision"]) for row in board["rows"]}, PRECISIONS)
    return (
        f"The graph `erase_native` over HTTP in ComfyUI {first['comfyui']} with {first['model']}, preset {preset_of(first)}: "
        f"clips of stock KSampler and VAE Decode that show their prompt's subject.{left}\n\n{table(board)}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="native_graph", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="miniature-ltx", choices=["miniature-ltx", "miniature"], help="what is loaded")
    parser.add_argument("--preset", default="balanced", choices=PRESETS, help="of the training")
    parser.add_argument("--pairs", type=int, default=12, help="prompts with the concept, and as many without (default: 12)")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--kinds", nargs="+", default=[VelocityRecipe.kind], choices=KINDS)
    parser.add_argument("--out", default="build/native", help="folder for the rows")
    parser.add_argument("--save", action="store_true", help="also write the rows into benchmarks/results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
