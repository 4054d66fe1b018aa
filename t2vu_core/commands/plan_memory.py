"""`t2vu plan --memory`: the memory of a training run, from shapes alone."""

from __future__ import annotations

import argparse
from typing import Any

MARK = "peak_gb"
FLAG = "--memory"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--memory`."""
    parser.add_argument("--memory", action="store_true", help="what a training run needs in memory")


def asked(options: argparse.Namespace) -> bool:
    """Whether the memory is to be planned."""
    return bool(options.memory)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Weights, activations and trajectories, in GB."""
    raise NotImplementedError


def show(result: dict[str, Any]) -> str:
    """One line each."""
    return f"{result['peak_gb']} GB"
