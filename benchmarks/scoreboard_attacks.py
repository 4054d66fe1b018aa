"""The attacks at strength as a table: one row per method and concept, with the unerased model's rate behind each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import regrowth_controls
from benchmarks.board_plan import STRONG_ATTACKS, STRONG_STARTS, strong_steps
from benchmarks.methods import METHODS
from benchmarks.scoreboard_numbers import with_best_stop
from t2vu_core.evaluation.attacks import AttackBudget
from t2vu_core.evaluation.report.wording import percent

NOT_MEASURED = "Not measured yet."
VOID_BELOW = 0.1
COLUMNS = ("prompt_attack", "clip_start", *(name for name in STRONG_ATTACKS if name != "prompt_attack"))


def document(board: Mapping[str, Any]) -> str:
    """The table, below a line about what was done; the curves of PROBE below it."""
    rows = [with_best_stop(row) for row in board["rows"] if row.get("probe_strong") is not None]
    if not rows:
        return NOT_MEASURED
    controls = board.get(regrowth_controls.FIELD, {})
    cheap = board["meter"]["attack_steps"]
    head = (
        f"PROBE: {AttackBudget.tokens} learned tokens, the best of {STRONG_STARTS} starts at any recorded stop up to "
        f"{strong_steps(cheap)} steps, and after {cheap} steps from one start, as on all other rows. The share of clips "
        "that show the concept; in brackets the same attack on the unerased model. *Void*: where that shows the concept in "
        f"less than {100 * VOID_BELOW:.0f} % of clips, the attack does not work and says nothing."
    )
    titles = ("method", "concept", "PROBE at strength", "PROBE", *(name.replace("_", " ") for name in COLUMNS), "regrowth")
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    return "\n".join(
        [
            head,
            "",
            *lines,
            *(_line(row, controls.get(row.get("key"))) for row in rows),
            "",
            "How the rate grows over PROBE's steps:",
            "",
            *curves(rows),
        ]
    )


def _line(row: Mapping[str, Any], regrown: float | None) -> str:
    controls = row.get("controls", {})
    cells = [_cell(row.get("probe_strong"), controls.get("probe")), percent(row.get("probe"))]
    cells += [_cell(row.get(name), controls.get(name)) for name in COLUMNS]
    cells.append(_cell(row.get("regrowth"), regrown))
    return f"| {METHODS[row['method']].title} | {row['concept']} | {' | '.join(cells)} |"


def _cell(share: float | None, control: float | None) -> str:
    if share is not None and control is not None and control < VOID_BELOW:
        return f"void ({percent(control)})"
    return percent(share) if share is None or control is None else f"{percent(share)} ({percent(control)})"


def curves(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per row: "velocity (ours), ghost: erased word, 150 steps: 1 of 32; ..."."""
    lines = []
    for row in rows:
        parts = row.get("attack_parts", {}).get("probe", {})
        points = "; ".join(f"{title}: {shown} of {clips}" for title, (shown, _, clips) in parts.items())
        lines.append(f"- {METHODS[row['method']].title}, {row['concept']}: {points}")
    return lines
