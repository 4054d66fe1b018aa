"""The board of version 0.1 against today's, over the concepts of both, and what became worse."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.methods import METHODS
from benchmarks.scoreboard_statistics import SHOWN, Runs, mean_over_concepts, runs_of, with_shares

BEFORE = Path(__file__).parent / "results" / "scoreboard-0.1.json"
COLUMNS = {
    SHOWN: ("still shown, all", False), "kept": ("others kept", True), "attributes": ("attributes", True),
    "probe": ("PROBE", False), "train_seconds": ("train s", False),
}  # fmt: skip
"""By key: the title, and whether more is better."""
WORSE_BY = 0.02
"""A share is called worse from so much on."""


def document(board: Mapping[str, Any]) -> str:
    """A line per method of both boards, "before -> now"; and a line that lists what became worse."""
    before = json.loads(BEFORE.read_text(encoding="utf-8"))["rows"]
    then = with_shares([{**row, "concept": _todays(row["concept"])} for row in before])
    now = with_shares(board["rows"])
    titles = [title for title, _ in COLUMNS.values()]
    lines = [f"| method | concepts | {' | '.join(titles)} |", f"|{'---|' * (2 + len(titles))}"]
    worse = []
    for name in METHODS:
        old, new = ([row for row in rows if row["method"] == name] for rows in (then, now))
        shared = {row["concept"] for row in old} & {row["concept"] for row in new}
        if not shared:
            continue
        cells = []
        for key, (title, more) in COLUMNS.items():
            runs = [runs_of([row for row in rows if row["concept"] in shared], key) for rows in (old, new)]
            pair = [mean_over_concepts(each) for each in runs]
            cells.append(" -> ".join(_said(key, value) for value in pair) + _fewer(runs, len(shared)))
            if _is_worse(key, more, *pair):
                worse.append(f"{METHODS[name].title}: {title} ({cells[-1]})")
        lines.append(f"| {METHODS[name].title} | {len(shared)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Worse than then: {'; '.join(worse)}." if worse else "Nothing became worse."])


def _todays(concept: str) -> str:
    return f"in {concept}" if concept.endswith(" style") else concept


def _fewer(runs: Sequence[Runs], concepts: int) -> str:
    """On how many concepts a figure is there, now and then, where not on all that the line counts."""
    there = [len(each) for each in runs if each]
    if all(count == concepts for count in there):
        return ""
    return f" ({' -> '.join(str(count) for count in there)} concept{'' if there[-1] == 1 else 's'})"


def _said(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if key == "train_seconds" else f"{100 * value:.1f} %"


def _is_worse(key: str, more: bool, then: float | None, now: float | None) -> bool:
    if then is None or now is None:
        return False
    loss = then - now if more else now - then
    return loss > (0 if key == "train_seconds" else WORSE_BY)
