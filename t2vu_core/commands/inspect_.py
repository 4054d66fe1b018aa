"""`t2vu inspect`: what an erasure file says of itself."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from t2vu_core.erasure import KIND_TITLES, Erasure
from t2vu_core.evaluation.report.wording import spoken

HELP = "show what an erasure file erases, from which base, and how well"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file."""
    parser.add_argument("file", metavar="F", help="an erasure file")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The description, with the number and size of the tensors; the file is read whole, so damage is found."""
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
    """The same for people."""
    base = result["base"]
    lines = [
        f"{result['file']} ({result['bytes'] / 2**20:.1f} MiB, {result['parameters']:,} parameters)",
        f"  erases   {', '.join(result['concepts'])}",
        f"  kind     {KIND_TITLES[result['kind']]}, by {result['method']}",
        f"  base     {base['name']} ({base['family']}), weights {base['hash'][:16]}",
        f"  made     {result['created']}, in {result['training'].get('seconds', '?')} s",
    ]
    lines.append(f"  scores   {spoken(result['scores'])}")
    return "\n".join(lines)
