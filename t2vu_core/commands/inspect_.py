"""`t2vu inspect`: shows the description of an erasure file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from t2vu_core.erasure import KIND_TITLES, Erasure, partial_of
from t2vu_core.errors import escaped
from t2vu_core.evaluation.report.wording import spoken
from t2vu_core.scores import Scores

HELP = "show what an erasure file erases, its base model and its scores"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file."""
    parser.add_argument("file", metavar="F", help="an erasure file")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The description, and the number and size of the tensors. Reads the whole file, so damage is found."""
    path = Path(options.file)
    erasure = Erasure.load(path)
    parameters = sum(tensor.numel() for tensor in erasure.tensors.values())
    return {
        **erasure.describe(),
        "file": str(path),
        "bytes": path.stat().st_size,
        "tensors": len(erasure.tensors),
        "parameters": parameters,
    }


def show(result: dict[str, Any]) -> str:
    """The same as text."""
    base = result["base"]
    lines = [
        f"{result['file']} ({result['bytes'] / 2**20:.1f} MiB, {result['parameters']:,} parameters)",
        f"  erases   {', '.join(result['concepts'])}",
        f"  kind     {KIND_TITLES[result['kind']]}, by {result['method']}",
        f"  base     {base['name']} ({base['family']}), weights {base['hash'][:16]}",
        f"  made     {result['created']}, in {result['training'].get('seconds', '?')} s",
    ]
    if partial := partial_of(result):
        lines.append(f"  state    {partial}; the training was stopped before its end")
    scores = None if result["scores"] is None else Scores.from_json(result["scores"])
    lines.append(f"  scores   {spoken(scores)}")
    return "\n".join(map(escaped, lines))
