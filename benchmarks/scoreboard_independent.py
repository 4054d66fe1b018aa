"""Our methods' means with and without the concepts on which defaults were first noticed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.methods import METHODS, THOROUGH
from benchmarks.scoreboard_comparisons import OURS, OUTCOMES
from benchmarks.scoreboard_statistics import interval_of, mean_over_concepts, runs_of, with_shares
from t2vu_core.evaluation.report.wording import with_interval

NOTICED_ON = ("ghost", "in noir style")
"""Test concepts that gave hints for defaults before there was evidence from development concepts."""
COLUMNS = {**OUTCOMES, "probe_strong": "PROBE at strength"}


def document(board: Mapping[str, Any]) -> str:
    """A line with all concepts and one without these, for each of our methods."""
    rows, every = with_shares(board["rows"]), f"all but {' and '.join(NOTICED_ON)}"
    lines = [f"| method | concepts | {' | '.join(COLUMNS.values())} |", f"|{'---|' * (2 + len(COLUMNS))}"]
    for name in (*OURS, THOROUGH):
        own = [row for row in rows if row["method"] == name]
        others = [row for row in own if row["concept"] not in NOTICED_ON]
        lines += [_line(name, title, part) for title, part in (("all", own), (every, others)) if part]
    return "\n".join(lines)


def _line(method: str, title: str, rows: list[dict[str, Any]]) -> str:
    concepts = len({row["concept"] for row in rows})
    cells = []
    for key in COLUMNS:
        runs = runs_of(rows, key)
        of = f", {len(runs)} of {concepts} concepts" if 0 < len(runs) < concepts else ""
        cells.append(f"{with_interval(mean_over_concepts(runs), interval_of(rows, key))}{of}")
    return f"| {METHODS[method].title} | {title} ({concepts}) | {' | '.join(cells)} |"
