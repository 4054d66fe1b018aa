"""The scoreboard as a table for a terminal or a README, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.methods import METHODS, Method
from t2vu_core.evaluation.report.wording import difference, with_interval
from t2vu_core.evaluation.statistics import Interval, compare, paired_ratio, wilson_interval

HEAD = (
    "method", "still shown, short", "still shown, refined", "still shown, all", "others kept", "attributes", "PROBE", "train s",
    "clip s",
)  # fmt: skip
OURS = "velocity"
SHARES = ("kept", "attributes", "probe")
SECONDS = ("train_seconds", "clip_seconds")
NUMBERS = ("erased_terse", "erased_refined", *SHARES, *SECONDS)
OUTCOMES = ("shown", "kept_shown", "kept_before")
"""Clip by clip: does it show the concept, and does it show, after and before, the other concept that it should."""


def pooled(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a method: its clips over all concepts and seeds taken together."""
    entries = []
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        outcomes = {key: [outcome for row in own for outcome in row.get(key, [])] for key in OUTCOMES}
        intervals = {f"{key}_interval": _interval(own, key) for key in NUMBERS}
        entry = {"method": name, "runs": len(own), **{key: _mean(own, key) for key in NUMBERS}, **intervals, **outcomes}
        if len(outcomes["kept_before"]) == len(outcomes["kept_shown"]) > 0:
            ratio = paired_ratio(outcomes["kept_before"], outcomes["kept_shown"])
            entry |= {"kept": ratio["ratio"], "kept_interval": ratio["interval"]}
        entries.append({**entry, "concepts": {row.get("concept") for row in own}})
    return entries


def _interval(rows: Sequence[Mapping[str, Any]], key: str) -> Interval | None:
    """Over all clips that the rows count for a rate; None where a row does not count them."""
    counts = [row.get("counts", {}).get(key) for row in rows if row[key] is not None]
    if not counts or not all(counts):
        return None
    return wilson_interval(sum(right for right, _ in counts), sum(clips for _, clips in counts))


def markdown(rows: Sequence[dict[str, Any]], methods: Mapping[str, Method] = METHODS, ours_name: str = OURS) -> str:
    """The table, and for every other method whether its difference from ours is one; without ours, from the first."""
    entries = pooled(rows)
    every = set().union(*(entry["concepts"] for entry in entries))
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    lines += [f"| {' | '.join(_cells(entry, methods, every))} |" for entry in entries]
    names = [entry["method"] for entry in entries]
    ours = ours_name if ours_name in names else next(iter(names), "")
    against = [_against(rows, name, ours, methods) for name in names if name != ours]
    return "\n".join([*lines, "", *(f"- {line}" for line in against if line)]).rstrip()


def document(board: Mapping[str, Any]) -> str:
    """The table under a line that says what was measured."""
    meter, machine, training = board["meter"], board["machine"], board["training"]
    concepts = ", ".join(dict.fromkeys(row["concept"] for row in board["rows"]))
    clips = f"{meter['per_register'] * meter['rounds']} clips of each register and {meter['kept'] * meter['rounds']} of others"
    cut = training["cut_to_steps"]
    trial = "" if cut is None else f" A trial: every training was cut to {cut} steps."
    head = (
        f"On {board['model']} ({board['base_hash'][:12]}), against {concepts}; {clips} a training, ours with the preset "
        f"{training['preset']}; seconds on {machine['cores']} cores ({machine['processor']}, torch {machine['torch']}). "
        f"In brackets 95 % intervals; they count clips, and say nothing of how trainings differ.{trial}"
    )
    return f"{head}\n\n{markdown(board['rows'])}"


def picture(rows: Sequence[dict[str, Any]], path: Path, methods: Mapping[str, Method] = METHODS) -> Path:
    """Still shown against kept, one point a method with its intervals; the best place is the upper left corner."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = [entry for entry in pooled(rows) if entry["kept"] is not None]
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index, entry in enumerate(entries):
        outcomes, kept = entry["shown"], entry["kept"]
        share = sum(outcomes) / len(outcomes)
        axes.errorbar(
            share, kept, xerr=_whiskers(share, wilson_interval(sum(outcomes), len(outcomes))),
            yerr=_whiskers(kept, entry["kept_interval"]), capsize=3, fmt=MARKERS[index % len(MARKERS)],
            label=methods[entry["method"]].title,
        )  # fmt: skip
    axes.set(xlabel="clips that still show the concept", ylabel="other concepts kept, against base", xlim=(-0.03, 1.05))
    axes.grid(alpha=0.3)
    if entries:
        figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)
    return path


MARKERS = "osD^v<>Ph*"


def _whiskers(value: float, bounds: Sequence[float] | None) -> list[list[float]] | None:
    """How far an interval reaches below and above a value, as matplotlib takes it."""
    return None if bounds is None else [[max(0.0, value - bounds[0])], [max(0.0, bounds[1] - value)]]


def _cells(entry: Mapping[str, Any], methods: Mapping[str, Method], concepts: set[str]) -> list[str]:
    """A method that was not measured against all concepts of the board says against which."""
    title, shown = methods[entry["method"]].title, entry["shown"]
    if entry["concepts"] != concepts:
        title += f", {', '.join(sorted(entry['concepts']))} only"
    cells = [title, *(with_interval(entry[key], entry[f"{key}_interval"]) for key in ("erased_terse", "erased_refined"))]
    cells.append(with_interval(sum(shown) / len(shown), wilson_interval(sum(shown), len(shown))))
    cells += [with_interval(entry[key], entry[f"{key}_interval"]) for key in SHARES]
    return cells + ["-" if entry[key] is None else f"{entry[key]:.1f}" for key in SECONDS]


def _mean(rows: Sequence[dict[str, Any]], key: str) -> float | None:
    values = [row[key] for row in rows if row[key] is not None]
    return sum(values) / len(values) if values else None


def _against(rows: Sequence[dict[str, Any]], name: str, ours_name: str, methods: Mapping[str, Method]) -> str | None:
    """Whether two methods differ, over the concepts that both were measured against; None where there is none."""
    of = {each: [row for row in rows if row["method"] == each] for each in (name, ours_name)}
    shared = set.intersection(*({row.get("concept") for row in own} for own in of.values()))
    if not shared:
        return None
    entry, ours = (pooled([row for row in own if row.get("concept") in shared])[0] for own in of.values())
    found = difference(compare(ours["shown"], entry["shown"]), " still shown")
    text = f"{methods[entry['method']].title} against {methods[ours['method']].title}: {found}"
    if entry["kept_shown"] and ours["kept_shown"]:
        text += f"; {difference(compare(ours['kept_shown'], entry['kept_shown']), ' of other concepts shown')}"
    return f"{text}."
