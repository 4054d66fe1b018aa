"""What the two judges say of the scoreboard's clips: how often they differ, and where the second sees what is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.methods import METHODS, Method
from t2vu_core.evaluation.report.wording import DIFFER_ABOVE

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
    """Each judge's false positives, on which methods' clips the judges differ, and where the second one's detections are."""
    base, lines = [row for row in rows if row["method"] == "base"], []
    for title, key, where in (
        ("the first judge", "false_alarms", "clips of other concepts by the base model"),
        ("the second", "judge2_false_alarms", "renders of other content"),
    ):
        shares = [row[key] for row in base if row.get(key) is not None]
        if shares:
            lines.append(f"{title} {sum(shares) / len(shares):.1%} (on {where})")
    if not lines:
        return ""
    return "\n\n".join([f"False positives: {', '.join(lines)}.", *_differing(rows, methods), *_sources(rows, base)]) + "\n\n"


def _differing(rows: Sequence[dict[str, Any]], methods: Mapping[str, Method]) -> list[str]:
    """A paragraph on how often the judges differ, over all clips and on which methods' clips too often."""
    counts: dict[str, list[int]] = {}
    for row in with_own_differences(rows):
        if DIFFER in row:
            differing, clips = counts.setdefault(row["method"], [0, 0])
            counts[row["method"]] = [differing + row["counts"][DIFFER][0], clips + row["counts"][DIFFER][1]]
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


def _sources(rows: Sequence[Row], base: Sequence[Row]) -> list[str]:
    """A paragraph on the concepts that the second judge sees where they are not."""
    known = {row["concept"]: row["judge2_false_alarms"] for row in base if row.get("judge2_false_alarms") is not None}
    if not known:
        return []
    on_renders = ", ".join(f"{name} {share:.1%}" for name, share in _ranked(known))
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
