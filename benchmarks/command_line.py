"""What the commands of several benchmarks share."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from t2vu_core.erasure import atomic_path
from t2vu_core.errors import UserError

Board = dict[str, Any]


def print_board(
    name: str,
    options: argparse.Namespace,
    run: Callable[[argparse.Namespace], Board],
    document: Callable[[Board], str],
    save_as: Path | None = None,
) -> int:
    """Make a board and print it, as JSON with `--json`; returns the exit code, 2 for wrong input.

    With `--save` it is also written to `save_as`; a `run` that saves each row itself has none.
    """
    try:
        board = run(options)
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    if save_as is not None and options.save:
        with atomic_path(save_as) as temporary:
            temporary.write_text(json.dumps(board, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(board, indent=1) if options.json else document(board))
    return 0
