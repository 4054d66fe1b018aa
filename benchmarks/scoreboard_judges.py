"""What the two judges say of the scoreboard's clips: how often they differ, and where the second sees what is not there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.board_plan import KEPT_TURNS
from benchmarks.methods import METHODS, Method
from t2vu_core.evaluation.detectors.miniature import names_of
from t2vu_core.evaluation.detectors.miniature_accuracy import accuracy_file
from t2vu_core.evaluation.report.wording import DIFFER_ABOVE
from t2vu_core.evaluation.second_judge.accuracy import ACCURACY_FILE
from t2vu_core.evaluation.statistics import wilson_interval
from t2vu_core.miniature.worlds import WORLD_32

DIFFER = "judges_differ_own"
"""The share of a method's own clips on which the judges differ."""
Row = Mapping[str, Any]


def with_own_differences(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `DIFFER` and its counts, where a base row of the same concept and as many clips is among them.

    An evaluation counts base's clips and the method's together (`judges_differ`), so base's are taken out again.
    """
    base = {row.get("concept"): row for row in rows if row["method"] == "base"}
    return [{**row, **_own(row, base.get(row.get("concept")))} for row in rows]


def _own(row: Row, base: Row | None) -> dict[str, Any]:
    if base is None or row.get("judges_differ") is None or base.get("judges_differ") is None:
        return {}
    clips = _clips(row)
    if clips == 0 or clips != _clips(base):
        return {}
    # Base's row has the same clips before and after.
    differing = round(2 * clips * row["judges_differ"]) - round(clips * base["judges_differ"])
    return {DIFFER: differing / clips, "counts": {**row.get("counts", {}), DIFFER: [differing, clips]}}


def _clips(row: Row) -> int:
    """Clips of a row that are asked for a concept, of which both judges are counted."""
    return len(row.get("shown", ())) + len(row.get("kept_shown", ()))


def judges(rows: Sequence[dict[str, Any]], methods: Mapping[str, Method] = METHODS) -> str:
    """Each judge's false positives and detections, on which methods' clips they differ, and where the second one's are."""
    base = [row for row in rows if row["method"] == "base"]
    errors = _false_positives(base)
    if not errors:
        return ""
    return "\n\n".join([*errors, *_detections(base), *_differing(rows, methods), *_sources(rows, base)]) + "\n\n"


def disagreement(rows: Sequence[dict[str, Any]]) -> str:
    """On what share of all clips the judges differ, where that is too much; else empty."""
    counts = _differences(rows).values()
    if not counts:
        return ""
    share = sum(differing for differing, _ in counts) / sum(clips for _, clips in counts)
    return f"The judges differ on {share:.0%} of clips." if share > DIFFER_ABOVE else ""


def _false_positives(base: Sequence[Row]) -> list[str]:
    """A paragraph on both judges, on the same kinds of clips as far as that is stored."""
    first = [row for row in base if row.get("false_alarms") is not None and row.get("kept_shown")]
    if not first:
        return []
    clips = sum(len(row["kept_shown"]) for row in first)
    seen = round(sum(row["false_alarms"] * len(row["kept_shown"]) for row in first))
    twice = (
        ", some of them the same for several concepts, so that the interval is too narrow" if len(first) > KEPT_TURNS else ""
    )
    text = (
        f"False positives, with 95 % intervals: the first judge on {_counted(seen, clips)} clips of other concepts by the base "
        f"model{twice}. On renders of other content:"
    )
    concepts, parts = [row["concept"] for row in first], []
    own = _on_renders(json.loads(accuracy_file(WORLD_32).read_text(encoding="utf-8"))["concepts"], concepts)
    second = {row["concept"]: row["judge2_false_alarms"] for row in base if row.get("judge2_false_alarms") is not None}
    other = _second_on_renders(second)
    for title, counts in (("the first judge", own), ("the second", other)):
        if counts:
            parts.append(f"{title} {_counted(*_sums(counts))} answers")
    if not parts:
        return [text.partition(" On renders")[0]]
    missing = (
        " Rows hold no verdict of the second judge on base's clips of other concepts, so there it cannot be compared with the "
        "first; the answers for several concepts are of the same renders and are counted as independent."
    )
    return [f"{text} {'; '.join(parts)}.{missing}"]


def _sums(counts: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    return sum(count for count, _ in counts.values()), sum(of for _, of in counts.values())


def _counted(count: int, of: int) -> str:
    """A rate with its 95 % interval and its counts: "3.0% (1.0 to 8.5 %) of 100"."""
    low, high = wilson_interval(count, of)
    digits = 1 if high > 0.001 else 3
    return f"{count / of:.1%} ({100 * low:.{digits}f} to {100 * high:.{digits}f} %) of {of}"


def _on_renders(stored: Mapping[str, Mapping[str, int]], concepts: Sequence[str]) -> dict[str, tuple[int, int]]:
    """False positives and renders without the concept, by concept; of those that are stored."""
    names = {concept: names_of(WORLD_32).get(concept.lower(), concept) for concept in concepts}
    there = {concept: stored[name] for concept, name in names.items() if name in stored}
    return {concept: (counts["false_alarms"], counts["without"]) for concept, counts in there.items()}


def _second_on_renders(shares: Mapping[str, float]) -> dict[str, tuple[int, int]]:
    """The counts behind the second judge's rates; empty if no stored judge has these rates."""
    for stored in json.loads(ACCURACY_FILE.read_text(encoding="utf-8")).values() if shares else ():
        found = _on_renders(stored, list(shares))
        if found.keys() == shares.keys() and all(math.isclose(k / n, shares[name]) for name, (k, n) in found.items()):
            return found
    return {}


def _detections(base: Sequence[Row]) -> list[str]:
    """A paragraph on how many of base's clips that ask for the concept each judge sees it in."""
    there = {row["concept"]: row for row in base if row.get("judge2_erased") is not None and row.get("shown")}
    if not there:
        return []
    seen = {name: (round(row["judge2_erased"] * len(row["shown"])), len(row["shown"])) for name, row in there.items()}
    first = {name: (sum(row["shown"]), len(row["shown"])) for name, row in there.items()}
    lowest = min(seen, key=lambda name: seen[name][0] / seen[name][1])
    return [
        f"Of base's clips that ask for the concept, the first judge sees it in {_counted(*_sums(first))}, the second in "
        f"{_counted(*_sums(seen))}. The second sees {lowest} least, in {_counted(*seen[lowest])}; the first sees it in "
        f"{_counted(*first[lowest])}. A judge that misses a concept before erasing may miss it afterwards too."
    ]


def _differing(rows: Sequence[dict[str, Any]], methods: Mapping[str, Method]) -> list[str]:
    """A paragraph on how often the judges differ, over all clips and on which methods' clips too often."""
    counts = _differences(rows)
    if not counts:
        return []
    shares = {name: differing / clips for name, (differing, clips) in counts.items()}
    overall = sum(differing for differing, _ in counts.values()) / sum(clips for _, clips in counts.values())
    often = [f"{methods[name].title} {share:.1%}" for name, share in shares.items() if share > DIFFER_ABOVE]
    limit = f"{100 * DIFFER_ABOVE:.0f} %"
    text = f"The judges differ on {overall:.1%} of the clips{f', more than {limit}' if overall > DIFFER_ABOVE else ''}."
    return [
        f"{text} By method, more than {limit}: {', '.join(often)}." if often else f"{text} No method has more than {limit}."
    ]


def _differences(rows: Sequence[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """Clips on which the judges differ, and all clips of both, by method."""
    counts: dict[str, tuple[int, int]] = {}
    for row in with_own_differences(rows):
        if DIFFER in row:
            differing, clips = counts.get(row["method"], (0, 0))
            counts[row["method"]] = differing + row["counts"][DIFFER][0], clips + row["counts"][DIFFER][1]
    return counts


def _sources(rows: Sequence[Row], base: Sequence[Row]) -> list[str]:
    """A paragraph on the concepts that the second judge sees where they are not."""
    known = {row["concept"]: row["judge2_false_alarms"] for row in base if row.get("judge2_false_alarms") is not None}
    if not known:
        return []
    counts = _second_on_renders(known)
    on_renders = "; ".join(
        f"{name} {_counted(*counts[name]) if name in counts else f'{share:.1%}'}" for name, share in _ranked(known)
    )
    text = f"The second judge's false positives on renders, by concept: {on_renders}."
    gone = [row for row in rows if row["method"] != "base" and row.get("judge2_erased") is not None and row.get("shown")]
    if gone:
        apart = {name: _seen_more([row for row in gone if row["concept"] == name]) for name in {row["concept"] for row in gone}}
        listed = ", ".join(f"{name} {100 * share:+.0f} points" for name, share in _ranked(apart))
        text += (
            " On clips of all methods but base that ask for the concept, the second judge's share that shows it, less the "
            f"first's: {listed}. Rows keep its verdicts by concept, not by register of the prompts."
        )
    return [text]


def _seen_more(rows: Sequence[Row]) -> float:
    """How much larger the second judge's share of clips with the concept is than the first one's, over these rows' clips."""
    clips = sum(len(row["shown"]) for row in rows)
    return sum(row["judge2_erased"] * len(row["shown"]) - sum(row["shown"]) for row in rows) / clips


def _ranked(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda item: (-item[1], item[0]))
