"""The scoreboard as a table for a terminal or a README, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.methods import METHODS, Method
from t2vu_core.evaluation.statistics import compare, wilson_interval
from t2vu_core.evaluation.verdict import percent

HEAD = ("method", "still shown, short", "still shown, refined", "others kept", "attributes", "PROBE", "train s", "clip s")
OURS = "velocity"


def pooled(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a method: its clips over all concepts and seeds taken together."""
    entries = []
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        entries.append({"method": name, "runs": len(own), **{key: _mean(own, key) for key in NUMBERS}, **_shown(own)})
    return entries


NUMBERS = ("erased_terse", "erased_refined", "kept", "attributes", "probe", "train_seconds", "clip_seconds")


def markdown(rows: Sequence[dict[str, Any]], methods: Mapping[str, Method] = METHODS, ours_name: str = OURS) -> str:
    """The table, and for every other method whether its difference from ours is one."""
    entries = pooled(rows)
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    for entry in entries:
        cells = [methods[entry["method"]].title, *(percent(entry[key]) for key in NUMBERS[:5])]
        cells += ["-" if entry[key] is None else f"{entry[key]:.1f}" for key in NUMBERS[5:]]
        lines.append(f"| {' | '.join(cells)} |")
    ours = next((entry for entry in entries if entry["method"] == ours_name), None)
    return "\n".join([*lines, "", *(_against(entry, ours, methods) for entry in entries if ours and entry is not ours)])


def picture(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    """Still shown against kept, one point a method with its interval; the best place is the upper left corner."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for entry in pooled(rows):
        outcomes = entry["shown"]
        low, high = wilson_interval(sum(outcomes), len(outcomes))
        share = sum(outcomes) / len(outcomes)
        point = axes.errorbar(share, entry["kept"], xerr=[[share - low], [high - share]], fmt="o", capsize=3)
        axes.annotate(
            METHODS[entry["method"]].title, (share, entry["kept"]), textcoords="offset points", xytext=(6, 6),
            color=point[0].get_color(),
        )  # fmt: skip
    axes.set(xlabel="clips that still show the concept", ylabel="other concepts kept, against base", xlim=(-0.03, 1.05))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    return path


def _mean(rows: Sequence[dict[str, Any]], key: str) -> float | None:
    values = [row[key] for row in rows if row[key] is not None]
    return sum(values) / len(values) if values else None


def _shown(rows: Sequence[dict[str, Any]]) -> dict[str, list[bool]]:
    return {"shown": [shown for row in rows for shown in row["shown"]]}


def _against(entry: dict[str, Any], ours: dict[str, Any], methods: Mapping[str, Method]) -> str:
    result = compare(ours["shown"], entry["shown"])
    low, high = result["interval"]
    verdict = "is a difference" if result["is_one"] else "is no clear difference"
    points = f"{100 * result['difference']:+.0f} points still shown ({100 * low:+.0f} to {100 * high:+.0f})"
    return f"{methods[entry['method']].title} against {methods[ours['method']].title}: {points}, which {verdict}."
