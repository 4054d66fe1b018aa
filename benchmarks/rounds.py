"""What the rounds of learned tokens change in the preset `thorough`: its rows of before and after, under PROBE at strength."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from benchmarks.methods import THOROUGH
from benchmarks.scoreboard_numbers import with_best_stop
from t2vu_core.evaluation.report.wording import percent

TODAY = Path(__file__).parent / "results" / "scoreboard.json"
KEY = "probe_strong"
Counts = tuple[int, int]


def document(before: Mapping[str, Any], today: Path = TODAY) -> str:
    """A line per concept that has a row of both, and the clips of these concepts together, with Fisher's exact test.

    `before` has rows of an earlier board: as many steps and trajectories as today, without rounds. They were replaced there
    when the preset changed.
    """
    rows = json.loads(today.read_text(encoding="utf-8"))["rows"]
    after = {row["concept"]: row for row in rows if row["method"] == THOROUGH}
    before = {row["concept"]: row for row in before["rows"]}
    pairs = {concept: (_counts(before[concept]), _counts(after[concept])) for concept in before if concept in after}
    lines = ["| PROBE at strength | without rounds | with eight rounds | Fisher's exact test |", f"|{'---|' * 4}"]
    lines += [_line(concept, *pair) for concept, pair in pairs.items()]
    if len(pairs) > 1:
        lines.append(_line("together", *(_sum(counts) for counts in zip(*pairs.values(), strict=True))))
    return "\n".join(lines)


def _counts(row: Mapping[str, Any]) -> Counts:
    """Clips that show the concept at the best recorded stop, and all clips."""
    shown, clips = with_best_stop(row)["counts"][KEY]
    return shown, clips


def _sum(counts: Sequence[Counts]) -> Counts:
    return sum(shown for shown, _ in counts), sum(clips for _, clips in counts)


def _line(title: str, before: Counts, after: Counts) -> str:
    p = float(stats.fisher_exact([[shown, clips - shown] for shown, clips in (before, after)]).pvalue)
    cells = [f"{shown} of {clips} ({percent(shown / clips)})" for shown, clips in (before, after)]
    return f"| {title} | {' | '.join(cells)} | p {p:.2f} |"
