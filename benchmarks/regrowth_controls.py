"""What the base model shows after the same benign fine-tuning as a row's model, kept next to the rows.

The rows themselves do not hold it, so that a board that was begun without it stays valid. The outcome is a by-product of the
row: the attack runs on both models, and asking for the base's finds it in the board's folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from t2vu_core.erasure import atomic_path

Controls = dict[str, float]
"""By the key of a row."""
FIELD = "regrowth_controls"
"""Of a board."""


def keep(out: Path, key: str, measure: Callable[[], float | None]) -> None:
    """Store the control of a row, if it is missing."""
    path, found = _path(out, key), None
    if not path.is_file() and (found := measure()) is not None:
        _write(path, found)


def collect(out: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, Controls]:
    """The board's field with the controls of these rows; nothing if there are none."""
    paths = {row["key"]: _path(out, row["key"]) for row in rows if "key" in row}
    found = {key: json.loads(path.read_text(encoding="utf-8")) for key, path in paths.items() if path.is_file()}
    return {FIELD: found} if found else {}


def restore(board: Mapping[str, Any], out: Path) -> None:
    """Put the controls of a saved board into the folder."""
    for key, control in board.get(FIELD, {}).items():
        if not _path(out, key).is_file():
            _write(_path(out, key), control)


def _write(path: Path, control: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(control), encoding="utf-8")


def _path(out: Path, key: str) -> Path:
    return out / "regrowth_controls" / f"{key}.json"
