"""The curves of encoder_objectives as a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.board_plan import TEST_CONCEPTS
from benchmarks.scoreboard_table import pooled
from t2vu_core.evaluation.report.wording import percent
from t2vu_core.evaluation.statistics import wilson_interval

HEAD = ("objective", "steps", "still shown", "short", "refined", "others kept", "attributes", "training s")
KEPT = {"kept": "other concepts kept, against base", "attributes": "other attributes of the same prompt kept"}
Point = dict[str, Any]


def curve(rows: Sequence[Mapping[str, Any]], name: str) -> list[Point]:
    """One point per step that all concepts have: the pooled clips, and the training seconds up to that step."""
    own = [row for row in rows if row["method"] == name]
    whole = {row["concept"] for row in own}
    points, seconds = [], 0.0
    for step in sorted({row["step"] for row in own}):
        there = [dict(row) for row in own if row["step"] == step and not row["diverged"]]
        if {row["concept"] for row in there} != whole:
            continue
        (entry,) = pooled(there)
        seconds += entry["train_seconds"]
        points.append({**entry, "step": step, "share": sum(entry["shown"]) / len(entry["shown"]), "train_seconds": seconds})
    return points


def reached(points: Sequence[Point], target: float) -> Point | None:
    """The first point at which at most `target` of the clips show the concept."""
    return next((point for point in points if point["share"] <= target), None)


def document(board: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """The table as Markdown, with a line above that describes the measurement and a line below with the best objective."""
    rows, target = board["rows"], board["target"]
    curves = {name: curve(rows, name) for name in dict.fromkeys(row["method"] for row in rows)}
    head = (
        f"Preset {board['preset']} on {board['model']} ({board['base_hash'][:12]}), trained through {board['through']}, "
        f"against {', '.join(dict.fromkeys(row['concept'] for row in rows))}; {board['clips_a_register']} clips a register and "
        f"{board['kept_clips']} of other concepts at every stop. Each objective at the first stop where at most "
        f"{percent(target)} of the clips still show the concept; in brackets one that never gets there, where it shows least. "
        "`python -m benchmarks.encoder_objectives` prints it."
    )
    measured = [name for name in dict.fromkeys(row["concept"] for row in rows) if name in TEST_CONCEPTS]
    verdict = [_not_independent(measured)] if measured else _verdict(curves, titles, target)
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    lines += [f"| {' | '.join(_cells(titles[name], points, target))} |" for name, points in curves.items() if points]
    return "\n".join([head, "", *lines, "", *verdict, *_diverged(rows, titles)]).rstrip()


def picture(rows: Sequence[Mapping[str, Any]], path: Path, titles: Mapping[str, str]) -> Path:
    """Plot still shown against kept, one curve per objective from the unmodified model; upper left is best."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (key, kept) in zip(figure.subplots(1, len(KEPT)), KEPT.items(), strict=True):
        for name in dict.fromkeys(row["method"] for row in rows):
            points = [point for point in curve(rows, name) if point[key] is not None]
            if points:
                shares, values = [point["share"] for point in points], [point[key] for point in points]
                (line,) = axes.plot(shares, values, marker="o", markersize=4, linewidth=1.4, alpha=0.8, label=titles[name])
                for point in points[1:]:
                    axes.annotate(
                        str(point["step"]), (point["share"], point[key]), textcoords="offset points", xytext=(3, 4),
                        fontsize=7, color=line.get_color(),
                    )  # fmt: skip
        axes.set(xlabel="clips that still show the concept", ylabel=kept, xlim=(-0.03, 1.05), ylim=(0, None))
        axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(loc="best", fontsize=8)
    figure.suptitle("Erased against kept; the numbers are training steps")
    figure.savefig(path, dpi=110)
    return path


def _cells(title: str, points: Sequence[Point], target: float) -> list[str]:
    there = reached(points, target)
    point = there or min(points, key=lambda point: point["share"])
    low, high = wilson_interval(sum(point["shown"]), len(point["shown"]))
    cells = [
        str(point["step"]),
        f"{percent(point['share'])} ({100 * low:.0f} to {100 * high:.0f})",
        *(percent(point[key]) for key in ("erased_terse", "erased_refined", "kept", "attributes")),
        f"{point['train_seconds']:.1f}",
    ]
    return [title, *(cells if there else [f"({cell})" for cell in cells])]


def _not_independent(concepts: Sequence[str]) -> str:
    """What such rows may not be used for."""
    return (
        f"The scoreboard measures {', '.join(concepts)} with the same prompts, so these rows choose no setting; as far as an "
        "earlier version chose one by them, its scoreboard is not independent of that choice."
    )


def _verdict(curves: Mapping[str, Sequence[Point]], titles: Mapping[str, str], target: float) -> list[str]:
    found = {name: point for name, points in curves.items() if (point := reached(points, target)) and point["kept"] is not None}
    if not found:
        return [f"No objective leaves {percent(target)} or less."]
    best = max(found, key=lambda name: (found[name]["kept"], found[name]["attributes"] or 0.0))
    kept, attributes = (percent(found[best][key]) for key in ("kept", "attributes"))
    return [
        f"At {percent(target)} still shown or less, {titles[best]} keeps most: {kept} of base's other concepts, "
        f"{attributes} of the other attributes."
    ]


def _diverged(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> list[str]:
    return [f"{titles[row['method']]}, {row['concept']}: {row['diverged']}" for row in rows if row["diverged"]]
