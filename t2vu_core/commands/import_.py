"""`t2vu import`: convert released erasers of T2VUnlearning to an erasure file."""

from __future__ import annotations

import argparse
from typing import Any

from t2vu_core.interchange import import_released
from t2vu_core.model import load_model

HELP = "convert a released eraser of T2VUnlearning (eraser_weights.pt) to an erasure file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The released file, its concepts, its base, and the output."""
    parser.add_argument(
        "path", metavar="PATH", help="the folder with eraser_weights.pt and eraser_config.json, or the .pt file"
    )
    parser.add_argument("--out", required=True, metavar="F", help="the erasure file to write")
    parser.add_argument(
        "--concept", action="append", default=[], metavar="C", help="what it erases; repeatable (default: the folder's name)"
    )
    parser.add_argument(
        "--model", metavar="M", help="the model it was trained on, to check that it fits and to record the hash of the weights"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Convert and write."""
    model = load_model(options.model, device="cpu") if options.model else None
    erasure = import_released(options.path, concepts=tuple(options.concept), model=model)
    path = erasure.save(options.out)
    return {**erasure.describe(), "out": str(path), "erasers": len(erasure.tensors) // 4, "base_known": model is not None}


def show(result: dict[str, Any]) -> str:
    """What was converted, and how to apply it."""
    what = f"{result['erasers']} erasers of rank {result['recipe']['rank']} for {result['base']['family']}"
    lines = [f"{result['out']}: {what}, which erase {', '.join(result['concepts'])}"]
    if not result["base_known"]:
        lines.append("Its base is not recorded: import it again with --model, or apply it with --allow-other-base.")
    return "\n".join(lines)
