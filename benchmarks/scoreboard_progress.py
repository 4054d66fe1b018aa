"""How much of the board's plan is measured, and what it took."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.board_plan import PLANNED_MODEL, Cell, attacks_on, is_regrown, is_strong, planned_cells, trainings
from benchmarks.methods import METHODS
from benchmarks.scoreboard_comparisons import OURS

Row = Mapping[str, Any]


def cell_of(row: Row) -> Cell:
    """Method, concept and training run of a row."""
    return row["method"], row["concept"], row.get("training_seed", 0)


def is_done(row: Row) -> bool:
    """Whether a row has all that the plan measures on it, its attacks too."""
    cell = cell_of(row)
    wanted = [*attacks_on(cell), *(["probe_strong"] if is_strong(cell) else []), *(["regrowth"] if is_regrown(cell) else [])]
    return all(row.get(name) is not None for name in wanted)


def progress(board: Mapping[str, Any]) -> str:
    """How many rows of the plan are done, and how many lack only their attacks; empty for a model without a plan.

    The plan is that of the first miniature.
    """
    if board["model"] != PLANNED_MODEL:
        return ""
    planned = planned_cells(METHODS)
    there = {cell_of(row): is_done(row) for row in board["rows"] if cell_of(row) in planned}
    done = sum(there.values())
    if done == len(planned):
        return f"All {done} rows of the plan are done."
    rest = len(there) - done
    attacks = f"; {rest} more lack{'s' if rest == 1 else ''} only {'its' if rest == 1 else 'their'} attacks" if rest else ""
    return f"{done} of {len(planned)} rows of the plan are done{attacks}."


def runs_a_concept(rows: Sequence[Row]) -> str:
    """How many training runs a concept has of our methods, of those planned: "1 of 3 training runs a concept"."""
    own = [row for row in rows if row["method"] in OURS]
    if not own:
        return ""
    counts = Counter((row["method"], row["concept"]) for row in own).values()
    made = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return f"{made} of {max(map(trainings, OURS))} training runs a concept"


def hours(rows: Sequence[Row], threads: int) -> float:
    """Core-hours of these rows: their seconds, by so many threads."""
    return threads * sum(row.get("row_seconds", 0.0) for row in rows) / 3600


def cost(spent: float, rest: float) -> str:
    """What the whole plan takes, from the core-hours of the rows that are there and of the missing ones."""
    return f"The rows so far took {spent:.1f} core-hours, the missing ones take about {rest:.1f}: {spent + rest:.1f} in all"


def threads_of(saved: Path, board: Mapping[str, Any]) -> int:
    """The threads that the rows were measured with: those of the saved board, if there is one."""
    machine = json.loads(saved.read_text(encoding="utf-8"))["machine"] if saved.is_file() else board["machine"]
    return int(machine.get("threads", machine["cores"]))
