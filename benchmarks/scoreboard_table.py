"""The scoreboard as a Markdown table and as a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.board_plan import PLANNED_MODEL, left_out, planned_cells
from benchmarks.methods import METHODS, Method
from benchmarks.scoreboard_judges import DIFFER, judges, with_own_differences
from benchmarks.scoreboard_statistics import bootstrap_interval, holm, mean_over_concepts, runs_of, sign_flip_p
from t2vu_core.evaluation.report.wording import with_interval
from t2vu_core.evaluation.statistics import Interval, compare, paired_ratio, wilson_interval

HEAD = (
    "method", "still shown, short", "still shown, refined", "still shown, all", "others kept", "attributes", "PROBE",
    "other names", "two subjects", "in any frame", "in the mean frame", "neighbours kept", "PROBE at strength", "clip start",
    "regrowth", "natural", "debris", "judge 2 shown", "judges differ", "train s", "clip s", "train MiB",
)  # fmt: skip
SHORT = ("method", "still shown, all", "others kept", "attributes", "natural", "PROBE", "train s")
"""The README's columns, of those that were measured; the measured documents have all."""
INTERVAL = re.compile(r"\((\d+) to (\d+) %\)")
"""As the measured documents write it; the README's table has "(94-100)"."""
NO_FIGURE = "-"
OURS = "velocity"
LEVEL = 0.05
"""Of significance."""
NEAR = " The neighbours of a subject are all other subjects of the small world, those of a style the other styles."
"""Of the column of neighbours: in such a world it says little more than that of all other concepts."""
MARK = "≠"
"""Of rates that differ significantly."""
RATIOS = ("kept", "neighbours")
"""Relative to before: these can exceed 1."""
SHARES = ("kept", "attributes", "probe")
FURTHER = (
    "erased_synonym", "erased_two_subject", "erased_any_frame", "erased_mean_frame", "neighbours", "probe_strong", "clip_start",
    "regrowth", "natural", "debris", "judge2_erased", DIFFER,
)  # fmt: skip
"""Shares that rows of older boards lack."""
SECONDS = ("train_seconds", "clip_seconds", "train_memory_mib")
NUMBERS = ("erased_terse", "erased_refined", *SHARES, *FURTHER, *SECONDS)
PERCENT = ("erased_terse", "erased_refined", "shown", *SHARES, *FURTHER)
FEWEST_TO_TEST = 6
"""Concepts from which on methods are compared concept by concept; with fewer no such test can be significant."""
OUTCOMES = ("shown", "kept_shown", "kept_before")
"""Per clip: whether it shows the concept, and whether it shows the other concept it should, after and before."""


def pooled(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry per method, with its clips over all concepts and seeds pooled."""
    entries, rows = [], with_own_differences(rows)
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        outcomes = {key: [outcome for row in own for outcome in row.get(key, [])] for key in OUTCOMES}
        intervals = {f"{key}_interval": _interval(own, key) for key in NUMBERS}
        means = {key: mean_over_concepts(runs_of(own, key)) for key in NUMBERS}
        entry = {"method": name, "runs": len(own), **means, **intervals, **outcomes}
        if len(outcomes["kept_before"]) == len(outcomes["kept_shown"]) > 0:
            ratio = paired_ratio(outcomes["kept_before"], outcomes["kept_shown"])
            entry |= {"kept": ratio.ratio, "kept_interval": _wider(ratio.interval, _over_concepts(own, "kept"))}
        shown = outcomes["shown"]
        over_clips = wilson_interval(sum(shown), len(shown)) if shown else None
        entry["shown_interval"] = _wider(over_clips, _over_concepts(_with_shown(own), "shown_share"))
        there = {key: len({row.get("concept") for row in own if row.get(key) is not None}) for key in NUMBERS}
        entries.append({**entry, "concepts": {row.get("concept") for row in own}, "with_figure": there})
    return entries


def _interval(rows: Sequence[Mapping[str, Any]], key: str) -> Interval | None:
    """The wider of two intervals: over concepts and training runs, and over all clips that the rows count for a rate.

    The first says how concepts and runs differ, the second that 0 of few clips does not prove a rate of 0.
    """
    counts = [row.get("counts", {}).get(key) for row in rows if row.get(key) is not None]
    over_clips = None
    if counts and all(counts):
        right, clips = (sum(part) for part in zip(*counts, strict=True))
        low, high = wilson_interval(right, clips)
        # Counts are of clips after erasing; a rate relative to before is that share divided by the one before.
        before = 1.0 if key not in RATIOS else sum(_before(row, key) for row in rows if row.get(key) is not None) / clips
        over_clips = low / before, high / before
    return _wider(over_clips, None if key in SECONDS else _over_concepts(rows, key))


def _before(row: Mapping[str, Any], key: str) -> float:
    """How many clips showed it before, of a rate relative to that; all of them where none does after."""
    right, clips = row["counts"][key]
    return right / row[key] if row[key] else clips


def _over_concepts(rows: Sequence[Mapping[str, Any]], key: str) -> Interval | None:
    interval = bootstrap_interval(runs_of([row for row in rows if "concept" in row], key))
    if interval is None or key in RATIOS:
        return interval
    return max(0.0, interval[0]), min(1.0, interval[1])


def _wider(first: Interval | None, second: Interval | None) -> Interval | None:
    if first is None or second is None:
        return first or second
    return min(first[0], second[0]), max(first[1], second[1])


def _with_shown(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the share of their clips that show the concept."""
    return [{**row, "shown_share": sum(row["shown"]) / len(row["shown"])} for row in rows if row.get("shown")]


def markdown(
    rows: Sequence[dict[str, Any]],
    methods: Mapping[str, Method] = METHODS,
    ours_name: str = OURS,
    columns: Sequence[str] = HEAD,
) -> str:
    """The table; a mark shows which methods differ significantly from ours, or from the first one if ours is missing."""
    names = list(dict.fromkeys(entry["method"] for entry in pooled(rows)))
    ours = ours_name if ours_name in names else next(iter(names), "")
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(cells[name] for name in columns)} |" for cells in _table(rows, methods, ours)]
    if len(names) < 2:
        return "\n".join(lines)
    note = (
        f"In the columns *{HEAD[3]}* and *{HEAD[4]}* {MARK} marks a significant difference from {methods[ours].title}, over "
        "the concepts of both"
    )
    shared = [_shared(rows, name, ours) for name in names if name != ours]
    if max(shared) < FEWEST_TO_TEST:
        note += "."
    else:
        few = (
            f"; with fewer than {FEWEST_TO_TEST} concepts, intervals of the pooled clips, uncorrected"
            if min(shared) < FEWEST_TO_TEST
            else ""
        )
        note += f" (exact paired test by concept, Holm's correction for all comparisons{few})."
    return "\n".join([*lines, "", note])


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
        f"the preset {training['preset']}; seconds on {machine['cores']} cores{used} ({machine['processor']}, torch "
        f"{machine['torch']}). In brackets 95 % intervals over concepts, training runs and clips.{trial}"
    )
    # Older boards had another plan.
    omitted = f"{_progress(board)} {left_out()}{NEAR}" if any("attack_parts" in row for row in board["rows"]) else ""
    return f"{head}{omitted}\n\n{judges(board['rows'])}{markdown(board['rows'])}"


def _progress(board: Mapping[str, Any]) -> str:
    """How much of the plan is measured; the plan is that of the first miniature."""
    planned = planned_cells(METHODS)
    there = {(row["method"], row["concept"], row["training_seed"]) for row in board["rows"]}
    if board["model"] != PLANNED_MODEL or planned <= there:
        return ""
    return f" Not all is measured yet: {len(planned & there)} of the {len(planned)} rows of the plan."


def summary(board: Mapping[str, Any]) -> str:
    """The README's table: fewer columns, one line about what was measured."""
    concepts = len({row["concept"] for row in board["rows"]})
    table = _table(board["rows"], METHODS, OURS)
    columns = [name for name in SHORT if any(cells[name] != NO_FIGURE for cells in table)]
    cells = INTERVAL.sub(r"(\1-\2)", markdown(board["rows"], columns=columns).partition("\n\n")[0])
    differs = f"{MARK}: significantly different from {METHODS[OURS].title}"
    head = f"Model {board['model']}, {concepts} concepts; 95 % intervals in brackets. {differs}."
    return f"{head}\n\n{cells}"


def picture(rows: Sequence[dict[str, Any]], path: Path, methods: Mapping[str, Method] = METHODS) -> Path:
    """Still shown against kept, one point per method with its intervals; the best place is the upper left corner."""
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
            share, kept, xerr=_whiskers(share, entry["shown_interval"]),
            yerr=_whiskers(kept, entry["kept_interval"]), capsize=3, fmt=MARKERS[index % len(MARKERS)],
            label=methods[entry["method"]].title,
        )  # fmt: skip
    axes.set(xlabel="clips that still show the concept", ylabel="other concepts kept, against base", xlim=(-0.03, 1.05))
    axes.grid(alpha=0.3)
    if entries:
        figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)
    return path


MARKERS = "osD^v<>Ph*XpdH8"


def _whiskers(value: float, bounds: Sequence[float] | None) -> list[list[float]] | None:
    """The distances of an interval's bounds from a value, as matplotlib takes them."""
    return None if bounds is None else [[max(0.0, value - bounds[0])], [max(0.0, bounds[1] - value)]]


def _table(rows: Sequence[dict[str, Any]], methods: Mapping[str, Method], ours: str) -> list[dict[str, str]]:
    """The cells of all rows by column."""
    entries, marks = pooled(rows), significant(rows, ours)
    every = set().union(*(entry["concepts"] for entry in entries))
    of = [_cells(entry, methods, every, marks.get(entry["method"], set())) for entry in entries]
    return [dict(zip(HEAD, cells, strict=True)) for cells in of]


def _cells(entry: Mapping[str, Any], methods: Mapping[str, Method], concepts: set[str], differing: set[str]) -> list[str]:
    """The cells of a row; a method that was not measured on all concepts of the board names its own."""
    title, shown = methods[entry["method"]].title, entry["shown"]
    if entry["concepts"] != concepts:
        title += f", {', '.join(sorted(entry['concepts']))} only"
    rates = {key: (entry[key], entry[f"{key}_interval"]) for key in PERCENT if key != "shown"}
    rates["shown"] = sum(shown) / len(shown), entry["shown_interval"]
    marked = [with_interval(*rates[key]) + _part(entry, key) + (f" {MARK}" if key in differing else "") for key in PERCENT]
    return [title, *marked, *(NO_FIGURE if entry[key] is None else f"{entry[key]:.1f}" for key in SECONDS)]


def _part(entry: Mapping[str, Any], key: str) -> str:
    """On how many of its concepts a method has this figure, where not on all of them."""
    there, all_of_them = entry["with_figure"].get(key, 0), len(entry["concepts"])
    return f", {there} of {all_of_them} concepts" if 0 < there < all_of_them else ""


def significant(rows: Sequence[dict[str, Any]], ours: str) -> dict[str, set[str]]:
    """By method, which of the rates "shown" and "kept" differ significantly from ours.

    Over enough shared concepts: an exact paired test concept by concept, corrected for all comparisons together (Holm 1979).
    Over fewer: the intervals of the pooled clips, one comparison at a time.
    """
    names = [name for name in dict.fromkeys(row["method"] for row in rows) if name != ours]
    few = {name: _differing(rows, name, ours) for name in names if _shared(rows, name, ours) < FEWEST_TO_TEST}
    tests = {}
    for name in (each for each in names if each not in few):
        for key, number in (("shown", "shown_share"), ("kept", "kept")):
            first, second = (
                runs_of(_with_shown([row for row in rows if row["method"] == each]), number) for each in (ours, name)
            )
            p = sign_flip_p(first, second)
            if p is not None:
                tests[name, key] = p
    found = {name: {key for (method, key), p in holm(tests).items() if method == name and p < LEVEL} for name in names}
    return {**found, **few}


def _of(rows: Sequence[dict[str, Any]], method: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["method"] == method]


def _shared(rows: Sequence[Mapping[str, Any]], name: str, ours: str) -> int:
    first, second = ({row.get("concept") for row in rows if row["method"] == each} for each in (name, ours))
    return len(first & second)


def _differing(rows: Sequence[dict[str, Any]], name: str, ours_name: str) -> set[str]:
    """Which of the rates "shown" and "kept" differ significantly from ours, over the concepts that both were measured on.

    Of the first training run alone: further runs repeat its prompts and seeds, so their clips are not independent.
    """
    first = [row for row in rows if row.get("training_seed", 0) == 0]
    of = {each: [row for row in first if row["method"] == each] for each in (name, ours_name)}
    shared = set.intersection(*({row.get("concept") for row in own} for own in of.values()))
    if name == ours_name or not shared:
        return set()
    entry, ours = (pooled([row for row in own if row.get("concept") in shared])[0] for own in of.values())
    compared = {"shown": "shown", "kept": "kept_shown"}
    return {key for key, own in compared.items() if entry[own] and ours[own] and compare(ours[own], entry[own]).is_one}
