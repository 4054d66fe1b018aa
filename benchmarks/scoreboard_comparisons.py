"""Paired tests of our methods against every other one: one family, corrected for all of its comparisons (Holm 1979)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.methods import METHODS, Method
from benchmarks.scoreboard_statistics import SHOWN, Runs, holm, mean_over_concepts, runs_of, sign_flip_p, with_shares
from t2vu_core.evaluation.statistics import compare

OURS = ("velocity", "encoder")
OUTCOMES = {
    SHOWN: "still shown, all", "judge2_erased": "judge 2 shown", "kept": "others kept", "attributes": "attributes",
    "clean": "clean", "probe": "PROBE",
}  # fmt: skip
"""What is compared, by key, with the title of its column."""
LEVEL = 0.05
"""Of significance, after the correction."""
FEWEST_TO_TEST = 6
"""Concepts that two methods must share to be tested; with fewer no test by concept can be significant."""
NOTHING = "No two methods share enough concepts for a test."


@dataclass(frozen=True)
class Comparison:
    """One of our methods against another one in one outcome, over the concepts that both have it for."""

    ours: str
    other: str
    outcome: str
    difference: float
    """Ours minus the other, of the means over concepts."""
    concepts: int
    p: float
    """Corrected for all comparisons of the family."""


def family(rows: Sequence[Mapping[str, Any]], ours: Sequence[str] = OURS) -> list[Comparison]:
    """All comparisons of these methods with every other one that share enough concepts; two of ours are compared once."""
    names = list(dict.fromkeys(row["method"] for row in rows))
    of = {name: with_shares([row for row in rows if row["method"] == name]) for name in names}
    there = [name for name in ours if name in of]
    pairs = [(own, name) for place, own in enumerate(there) for name in names if name not in there[: place + 1]]
    found = [
        compared
        for own, name in pairs
        for outcome in OUTCOMES
        if (compared := _compared(own, name, outcome, runs_of(of[own], outcome), runs_of(of[name], outcome)))
    ]
    corrected = holm({place: each.p for place, each in enumerate(found)})
    return [replace(each, p=corrected[place]) for place, each in enumerate(found)]


def _compared(ours: str, other: str, outcome: str, first: Runs, second: Runs) -> Comparison | None:
    """The comparison with its uncorrected p-value: the exact test of paired differences."""
    shared = set(first) & set(second)
    if len(shared) < FEWEST_TO_TEST:
        return None
    own, another = (mean_over_concepts({name: runs[name] for name in shared}) for runs in (first, second))
    p = sign_flip_p(first, second)
    assert own is not None
    assert another is not None
    assert p is not None
    return Comparison(ours, other, outcome, own - another, len(shared), p)


def significant(rows: Sequence[dict[str, Any]], ours: str) -> dict[str, set[str]]:
    """By method, which outcomes differ significantly from ours, by the corrected tests of the family.

    Where no method shares enough concepts with ours, as in ablations: the intervals of the pooled clips, uncorrected.
    """
    others = [name for name in dict.fromkeys(row["method"] for row in rows) if name != ours]
    if not is_tested(rows, ours):
        return {name: _differing(rows, name, ours) for name in others}
    found: dict[str, set[str]] = {name: set() for name in others}
    for each in family(rows, OURS if ours in OURS else (ours,)):
        if each.p < LEVEL and ours in (each.ours, each.other):
            found[each.other if each.ours == ours else each.ours].add(each.outcome)
    return found


def is_tested(rows: Sequence[Mapping[str, Any]], ours: str) -> bool:
    """Whether any method shares enough concepts with ours."""
    return any(shared(rows, name, ours) >= FEWEST_TO_TEST for name in {row["method"] for row in rows} - {ours})


def shared(rows: Sequence[Mapping[str, Any]], name: str, ours: str) -> int:
    """How many concepts both methods have rows of."""
    first, second = ({row.get("concept") for row in rows if row["method"] == each} for each in (name, ours))
    return len(first & second)


def _differing(rows: Sequence[dict[str, Any]], name: str, ours_name: str) -> set[str]:
    """Which of what is shown and kept differs significantly over the concepts that both were measured on.

    Of the first training run alone: further runs repeat its prompts and seeds, so their clips are not independent.
    """
    first = [row for row in rows if row.get("training_seed", 0) == 0]
    of = {each: [row for row in first if row["method"] == each] for each in (name, ours_name)}
    both = set.intersection(*({row.get("concept") for row in own} for own in of.values()))
    found = set()
    for key, clips in ((SHOWN, "shown"), ("kept", "kept_shown")):
        own, other = (
            [outcome for row in of[each] if row.get("concept") in both for outcome in row.get(clips, [])]
            for each in (ours_name, name)
        )
        if own and other and compare(own, other).is_one:
            found.add(key)
    return found


def document(board: Mapping[str, Any], methods: Mapping[str, Method] = METHODS) -> str:
    """All comparisons as a table: the difference, and the corrected p-value."""
    found = family(board["rows"])
    if not found:
        return NOTHING
    concepts = max(each.concepts for each in found)
    least = min(1.0, len(found) * 2 ** (1 - concepts))
    too_many = ", so none of them can be significant: the family is too large for so few concepts" if least >= LEVEL else ""
    head = (
        f"One family of {len(found)} comparisons: exact paired tests by concept (two-sided sign flips), p-values with Holm's "
        f"correction for all of them. Points: the first method minus the second; bold: p < {LEVEL}. With {concepts} shared "
        f"concepts the smallest corrected p-value of so many comparisons is {least:.4f}{too_many}. Not tested: methods with "
        f"fewer than {FEWEST_TO_TEST} shared concepts{_lacking(found)}."
    )
    outcomes = [name for name in OUTCOMES if any(each.outcome == name for each in found)]
    lines = [f"| compared | {' | '.join(OUTCOMES[name] for name in outcomes)} |", f"|{'---|' * (1 + len(outcomes))}"]
    for own, other in dict.fromkeys((each.ours, each.other) for each in found):
        cells = {each.outcome: _cell(each) for each in found if (each.ours, each.other) == (own, other)}
        title = f"{methods[own].title} against {methods[other].title}"
        lines.append(f"| {title} | {' | '.join(cells.get(name, '-') for name in outcomes)} |")
    return "\n".join([head, "", *lines])


def _lacking(found: Sequence[Comparison]) -> str:
    """The outcomes that no comparison has."""
    lacking = [f"*{title}*" for name, title in OUTCOMES.items() if not any(each.outcome == name for each in found)]
    return f"; {', '.join(lacking)}, which no two methods have on so many" if lacking else ""


def _cell(each: Comparison) -> str:
    text = f"{100 * each.difference:+.1f} points, p {each.p:.4f}"
    return f"**{text}**" if each.p < LEVEL else text
