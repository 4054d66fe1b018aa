"""The scoreboard as a table for a terminal or a README, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.methods import METHODS, Method
from t2vu_core.evaluation.statistics import compare, wilson_interval
from t2vu_core.evaluation.verdict import difference, interval, percent

HEAD = (
    "method", "still shown, short", "still shown, refined", "still shown, all (95 %)", "others kept", "attributes", "PROBE",
    "train s", "clip s",
)  # fmt: skip
OURS = "velocity"
SHARES = ("kept", "attributes", "probe")
SECONDS = ("train_seconds", "clip_seconds")
NUMBERS = ("erased_terse", "erased_refined", *SHARES, *SECONDS)
OUTCOMES = ("shown", "kept_shown")
"""Clip by clip: does it show the concept, and does it show the other concept that it should."""


def pooled(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a method: its clips over all concepts and seeds taken together."""
    entries = []
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        outcomes = {key: [outcome for row in own for outcome in row.get(key, [])] for key in OUTCOMES}
        entries.append({"method": name, "runs": len(own), **{key: _mean(own, key) for key in NUMBERS}, **outcomes})
    return entries


def markdown(rows: Sequence[dict[str, Any]], methods: Mapping[str, Method] = METHODS, ours_name: str = OURS) -> str:
    """The table, and for every other method whether its difference from ours is one."""
    entries = pooled(rows)
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    lines += [f"| {' | '.join(_cells(entry, methods))} |" for entry in entries]
    ours = next((entry for entry in entries if entry["method"] == ours_name), None)
    against = [_against(entry, ours, methods) for entry in entries if ours and entry is not ours]
    return "\n".join([*lines, "", *(f"- {line}" for line in against)]).rstrip()


def picture(rows: Sequence[dict[str, Any]], path: Path, methods: Mapping[str, Method] = METHODS) -> Path:
    """Still shown against kept, one point a method with its interval; the best place is the upper left corner."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = [entry for entry in pooled(rows) if entry["kept"] is not None]
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index, entry in enumerate(entries):
        outcomes = entry["shown"]
        low, high = wilson_interval(sum(outcomes), len(outcomes))
        share = sum(outcomes) / len(outcomes)
        axes.errorbar(
            share, entry["kept"], xerr=[[max(0.0, share - low)], [max(0.0, high - share)]], capsize=3,
            fmt=MARKERS[index % len(MARKERS)], label=methods[entry["method"]].title,
        )  # fmt: skip
    axes.set(xlabel="clips that still show the concept", ylabel="other concepts kept, against base", xlim=(-0.03, 1.05))
    axes.grid(alpha=0.3)
    if entries:
        figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)
    return path


MARKERS = "osD^v<>Ph*"


def _cells(entry: Mapping[str, Any], methods: Mapping[str, Method]) -> list[str]:
    shown = entry["shown"]
    every = f"{percent(sum(shown) / len(shown))} ({interval(wilson_interval(sum(shown), len(shown)))})"
    cells = [methods[entry["method"]].title, percent(entry["erased_terse"]), percent(entry["erased_refined"]), every]
    cells += [percent(entry[key]) for key in SHARES]
    return cells + ["-" if entry[key] is None else f"{entry[key]:.1f}" for key in SECONDS]


def _mean(rows: Sequence[dict[str, Any]], key: str) -> float | None:
    values = [row[key] for row in rows if row[key] is not None]
    return sum(values) / len(values) if values else None


def _against(entry: dict[str, Any], ours: dict[str, Any], methods: Mapping[str, Method]) -> str:
    found = difference(compare(ours["shown"], entry["shown"]), " still shown")
    text = f"{methods[entry['method']].title} against {methods[ours['method']].title}: {found}"
    if entry["kept_shown"] and ours["kept_shown"]:
        text += f"; {difference(compare(ours['kept_shown'], entry['kept_shown']), ' of other concepts shown')}"
    return f"{text}."
