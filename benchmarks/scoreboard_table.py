"""The scoreboard as a Markdown table and as a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.board_plan import KEPT_TURNS, PLANNED_MODEL, left_out
from benchmarks.methods import METHODS, Method
from benchmarks.scoreboard_comparisons import FEWEST_TO_TEST, OUTCOMES, is_tested, significant
from benchmarks.scoreboard_judges import DIFFER, disagreement, judges, with_own_differences
from benchmarks.scoreboard_progress import hours, progress, runs_a_concept
from benchmarks.scoreboard_statistics import (
    SECONDS,
    SHOWN,
    about_intervals,
    about_runs,
    interval_of,
    mean_over_concepts,
    runs_of,
    with_shares,
)
from t2vu_core.evaluation.report.wording import with_interval

HEAD = (
    "method", "still shown, short", "still shown, refined", "still shown, all", "others kept", "attributes", "PROBE",
    "other names", "two subjects", "in any frame", "in the mean frame", "neighbours kept", "PROBE at strength", "clip start",
    "regrowth", "clean", "natural", "debris", "judge 2 shown", "judges differ", "train s", "clip s", "train MiB",
)  # fmt: skip
SHORT = (
    "method", "still shown, all", "judge 2 shown", "others kept", "attributes", "clean", "PROBE", "PROBE at strength",
    "train s",
)  # fmt: skip
"""The README's columns, of those that were measured; the measured documents have all."""
INTERVAL = re.compile(r"(\d+) %(?: \((-?\d+) to (\d+) %\))?")
"""As the measured documents write a rate; the README's table has "97% (94-100)"."""
NO_FIGURE = "-"
OURS = "velocity"
ABOUT_SECONDS = (
    "*train s* are seconds of one training run, *clip s* of one clip in a batch, on processors that "
    "differ between rows and at times had other load: compare their magnitude, not single percents."
)
CLEAN = (
    "*Clean*: clips in which the first judge sees no concept and which are not debris: an empty scene, by the first judge, or "
    "another subject, by both. The second judge may still see the concept there. So a scene left empty counts as clean more "
    "easily than another subject does. *Natural* includes clips that still show the concept."
)
NEAR = (
    f" The clips of other concepts have {KEPT_TURNS} sets of prompts, which concepts in turn share. The neighbours of a "
    "subject are all other subjects of the small world, those of a style the other styles; of the clips of other concepts, few "
    "are of a style, so that *neighbours kept* of a style counts few clips."
)
"""Of the column of neighbours: in such a world it says little more than that of all other concepts."""
MARK = "≠"
"""Of rates that differ significantly."""
SHARES = ("kept", "attributes", "probe")
FURTHER = (
    "erased_synonym", "erased_two_subject", "erased_any_frame", "erased_mean_frame", "neighbours", "probe_strong", "clip_start",
    "regrowth", "clean", "natural", "debris", "judge2_erased", DIFFER,
)  # fmt: skip
"""Shares that rows of older boards lack."""
PERCENT = ("erased_terse", "erased_refined", SHOWN, *SHARES, *FURTHER)
NUMBERS = (*PERCENT, *SECONDS)
PER_CLIP = ("shown", "kept_shown", "kept_before")
"""Per clip: whether it shows the concept, and whether it shows the other concept it should, after and before."""


def pooled(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry per method: means over concepts with their intervals, and the clips of all concepts and seeds."""
    entries, rows = [], with_own_differences(with_shares(rows))
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        outcomes = {key: [outcome for row in own for outcome in row.get(key, [])] for key in PER_CLIP}
        intervals = {f"{key}_interval": interval_of(own, key) for key in NUMBERS}
        means = {key: mean_over_concepts(runs_of(own, key)) for key in NUMBERS}
        there = {key: len({row.get("concept") for row in own if row.get(key) is not None}) for key in NUMBERS}
        entry = {"method": name, "runs": len(own), **means, **intervals, **outcomes}
        entries.append({**entry, "concepts": {row.get("concept") for row in own}, "with_figure": there})
    return entries


def markdown(
    rows: Sequence[dict[str, Any]],
    methods: Mapping[str, Method] = METHODS,
    ours_name: str = OURS,
    columns: Sequence[str] = HEAD,
    *,
    named: bool = True,
) -> str:
    """The table; a mark shows which methods differ significantly from ours, or from the first one if ours is missing.

    A row that has fewer concepts than others names them, or only has their number.
    """
    names = list(dict.fromkeys(row["method"] for row in rows))
    ours = ours_name if ours_name in names else next(iter(names), "")
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(cells[name] for name in columns)} |" for cells in _table(rows, methods, ours, named=named)]
    return "\n".join(lines if len(names) < 2 else [*lines, "", _about_marks(rows, methods[ours].title, ours)])


def _about_marks(rows: Sequence[dict[str, Any]], title: str, ours: str) -> str:
    """What the marks mean."""
    if is_tested(rows, ours):
        columns = ", ".join(f"*{name}*" for name in OUTCOMES.values())
        if not any(significant(rows, ours).values()):
            return (
                f"No method differs significantly from {title} in {columns}: exact paired tests by concept, Holm's correction."
            )
        return (
            f"{MARK} marks a significant difference from {title} in {columns}: exact paired tests by concept, "
            f"Holm's correction for all comparisons of the family. Methods that share fewer than {FEWEST_TO_TEST} "
            "concepts with it are not tested."
        )
    return (
        f"In the columns *{OUTCOMES[SHOWN]}* and *{OUTCOMES['kept']}* {MARK} marks a significant difference from {title}, over "
        "the concepts of both: intervals of the pooled clips, uncorrected, clips counted as independent."
    )


def document(board: Mapping[str, Any]) -> str:
    """The table with a line about what was measured."""
    meter, machine, training = board["meter"], board["machine"], board["training"]
    concepts = ", ".join(dict.fromkeys(row["concept"] for row in board["rows"]))
    clips = f"{meter['per_register'] * meter['rounds']} clips per register and {meter['kept'] * meter['rounds']} of others"
    cut = training["cut_to_steps"]
    used = f", {machine['threads']} used" if "threads" in machine else ""
    trial = "" if cut is None else f" A trial: every training run was cut to {cut} steps."
    head = (
        f"Model {board['model']} ({board['base_hash'][:12]}); concepts {concepts}; {clips} per training run; our methods with "
        f"the preset {training['preset']}; {machine['cores']} cores{used} ({machine['processor']}, torch "
        f"{machine['torch']}). {about_intervals(board['rows'])} {ABOUT_SECONDS}{trial}"
    )
    # Older boards had another plan.
    planned = any("attack_parts" in row for row in board["rows"])
    parts = [head, f"{_plan(board)} {CLEAN}{NEAR}"] if planned else [head]
    return "\n\n".join([*parts, f"{judges(board['rows'])}{markdown(board['rows'])}"])


def _plan(board: Mapping[str, Any]) -> str:
    """What of the plan is measured, what it took and what the plan leaves out; for a model without a plan what it took."""
    threads = board["machine"].get("threads", board["machine"]["cores"])
    took = f"The rows took {hours(board['rows'], threads):.1f} core-hours."
    if board["model"] != PLANNED_MODEL:
        return took
    runs = runs_a_concept(board["rows"])
    parts = [progress(board), f"Our methods have {runs}." if runs else ""]
    return " ".join([*filter(None, parts), took, left_out({name: method.title for name, method in METHODS.items()})])


def summary(board: Mapping[str, Any]) -> str:
    """The README's table: fewer columns, one line about what was measured."""
    concepts = len({row["concept"] for row in board["rows"]})
    table = _table(board["rows"], METHODS, OURS)
    columns = [name for name in SHORT if any(cells[name] != NO_FIGURE for cells in table)]
    cells = INTERVAL.sub(_short_rate, markdown(board["rows"], columns=columns, named=False).partition("\n\n")[0]).replace(
        " | ", "|"
    )
    differs = f"{MARK}: significantly different from {METHODS[OURS].title}."
    runs = runs_a_concept(board["rows"])
    said = [f"Model {board['model']}, {concepts} concepts{f'; our methods: {runs}' if runs else ''}."]
    said += [progress(board), disagreement(board["rows"])]
    said += ["95 % intervals in brackets.", about_runs(board["rows"]), differs]
    return f"{' '.join(filter(None, said))}\n\n{cells}"


def _short_rate(found: re.Match[str]) -> str:
    share, low, high = found.groups()
    return f"{share}%" if low is None else f"{share}% ({low}-{high})"


def picture(rows: Sequence[dict[str, Any]], path: Path, methods: Mapping[str, Method] = METHODS) -> Path:
    """What is still shown against what is kept, one point per method with its intervals; also clean clips, if they are counted.

    The best place is the upper left corner; of clean clips, the upper right one. Intervals of few concepts can reach beyond the
    frame.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = [entry for entry in pooled(rows) if entry["kept"] is not None and entry[SHOWN] is not None]
    panels = [key for key in AXES if key == SHOWN or any(entry[key] is not None for entry in entries)]
    figure = Figure(figsize=(4 + 5 * len(panels), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    most = max((len(entry["concepts"]) for entry in entries), default=0)
    kept = [entry["kept"] for entry in entries] or [1.0]
    for axes, key in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for index, entry in enumerate(entries):
            if entry[key] is not None:
                # Hollow, and the first ones largest: methods in the same place stay visible.
                axes.errorbar(
                    entry[key], entry["kept"], xerr=_whiskers(entry[key], entry[f"{key}_interval"]),
                    yerr=_whiskers(entry["kept"], entry["kept_interval"]), capsize=3, fmt=MARKERS[index % len(MARKERS)],
                    markerfacecolor="none", markersize=LARGEST - 6 * index / len(entries), alpha=0.85,
                    color=COLOURS[index % len(COLOURS)],
                    label=_label(methods[entry["method"]].title, len(entry["concepts"]), most),
                )  # fmt: skip
        axes.set(xlabel=AXES[key], ylabel="other concepts kept, against base", xlim=(-0.03, 1.05))
        axes.set_ylim(min(kept) - MARGIN, max(*kept, 1.0) + MARGIN)
        axes.grid(alpha=0.3)
    if entries:
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)
    return path


AXES = {SHOWN: "clips that still show the concept", "clean": "clean clips: neither the concept nor debris"}
"""Of the picture's panels, from left to right."""
MARKERS = "osD^v<>Ph*XpdH8"
COLOURS = (
    "tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:gray", "tab:olive",
    "tab:cyan", "black", "navy", "darkgreen", "gold", "maroon",
)  # fmt: skip
MARGIN = 0.2
"""Of what is kept, above and below all points."""
LARGEST = 11
"""Points of the first method's marker."""


def _label(title: str, concepts: int, most: int) -> str:
    """A method's name in the legend; one that was measured on fewer concepts than others says on how many."""
    return title if concepts == most else f"{title}, {concepts} concept{'s' if concepts > 1 else ''} only"


def _whiskers(value: float, bounds: Sequence[float] | None) -> list[list[float]] | None:
    """The distances of an interval's bounds from a value, as matplotlib takes them."""
    return None if bounds is None else [[max(0.0, value - bounds[0])], [max(0.0, bounds[1] - value)]]


def _table(
    rows: Sequence[dict[str, Any]], methods: Mapping[str, Method], ours: str, *, named: bool = True
) -> list[dict[str, str]]:
    """The cells of all rows by column."""
    entries, marks = pooled(rows), significant(rows, ours)
    every = set().union(*(entry["concepts"] for entry in entries))
    of = [_cells(entry, _title(entry, methods, every, named=named), marks.get(entry["method"], set())) for entry in entries]
    return [dict(zip(HEAD, cells, strict=True)) for cells in of]


def _title(entry: Mapping[str, Any], methods: Mapping[str, Method], concepts: set[str], *, named: bool) -> str:
    """The method; one that was not measured on all concepts of the board names its own, or says how many it has."""
    title, own = methods[entry["method"]].title, entry["concepts"]
    if own == concepts:
        return title
    return f"{title}, {', '.join(sorted(own))} only" if named else f"{title}, {len(own)} concept{'' if len(own) == 1 else 's'}"


def _cells(entry: Mapping[str, Any], title: str, differing: set[str]) -> list[str]:
    """The cells of a row."""
    rates = {key: (entry[key], entry[f"{key}_interval"]) for key in PERCENT}
    marked = [with_interval(*rates[key]) + _part(entry, key) + (f" {MARK}" if key in differing else "") for key in PERCENT]
    return [title, *marked, *(NO_FIGURE if entry[key] is None else f"{entry[key]:.1f}" for key in SECONDS)]


def _part(entry: Mapping[str, Any], key: str) -> str:
    """On how many of its concepts a method has this figure, where not on all of them."""
    there, all_of_them = entry["with_figure"].get(key, 0), len(entry["concepts"])
    return f", {there} of {all_of_them} concepts" if 0 < there < all_of_them else ""
