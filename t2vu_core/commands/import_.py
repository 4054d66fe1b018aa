"""`t2vu import`: the paper's released erasers as an erasure file of ours."""

from __future__ import annotations

import argparse
from typing import Any

from t2vu_core.interchange import import_released
from t2vu_core.model import load_model

HELP = "convert a released eraser of T2VUnlearning (eraser_weights.pt) into an erasure file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The release, what it erases, its base, and the output."""
    parser.add_argument(
        "path", metavar="PATH", help="the folder with eraser_weights.pt and eraser_config.json, or the .pt file"
    )
    parser.add_argument("--out", required=True, metavar="F", help="the erasure file to write")
    parser.add_argument("--concept", action="append", default=[], help="what it erases; the default is the folder's name")
    parser.add_argument(
        "--model", metavar="M", help="the model it was trained on, to check the fit and record its weights' hash"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Convert and write."""
    model = load_model(options.model, device="cpu") if options.model else None
    erasure = import_released(options.path, concepts=tuple(options.concept), model=model)
    path = erasure.save(options.out)
    return {**erasure.describe(), "out": str(path), "erasers": len(erasure.tensors) // 4, "base_known": model is not None}


def show(result: dict[str, Any]) -> str:
    """What was read, and what is needed to apply it."""
    what = f"{result['erasers']} erasers of rank {result['recipe']['rank']} for {result['base']['family']}"
    lines = [f"{result['out']}: {what}, against {', '.join(result['concepts'])}"]
    if not result["base_known"]:
        lines.append("Its base is not recorded: apply it with --allow-other-base, or import it again with --model.")
    return "\n".join(lines)
