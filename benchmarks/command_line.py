"""What the commands of several benchmarks share."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from t2vu_core.errors import UserError

Board = dict[str, Any]


def print_board(
    name: str, options: argparse.Namespace, run: Callable[[argparse.Namespace], Board], document: Callable[[Board], str]
) -> int:
    """Make a board and print it, as JSON with `--json`; returns the exit code, 2 for wrong input."""
    try:
        board = run(options)
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    print(json.dumps(board, indent=1) if options.json else document(board))
    return 0
