"""The board taken apart: subjects and styles, depths of clip starts, distance from renders, precision of training runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.methods import METHODS, THOROUGH
from benchmarks.scoreboard_statistics import SHOWN, mean_over_concepts, runs_of, with_shares
from t2vu_core.evaluation.report.wording import percent, with_interval
from t2vu_core.evaluation.statistics import wilson_interval
from t2vu_core.prompts.kinds import is_style

Row = Mapping[str, Any]
COLUMNS = {SHOWN: "still shown", "kept": "others kept", "clean": "clean"}
KINDS = ("subject", "style")


def by_kind(board: Mapping[str, Any]) -> str:
    """A line per method: its means over subjects, and over styles."""
    rows = with_shares(board["rows"])
    heads = [f"{kind}s: {title}" for kind in KINDS for title in COLUMNS.values()]
    lines = [f"| method | {' | '.join(heads)} |", f"|{'---|' * (1 + len(heads))}"]
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        parts = [[row for row in own if is_style(row["concept"]) == style] for style in (False, True)]
        cells = [percent(mean_over_concepts(runs_of(part, key))) for part in parts for key in COLUMNS]
        of = " and ".join(_counted(part, kind) for part, kind in zip(parts, KINDS, strict=True) if part)
        lines.append(f"| {METHODS[name].title} ({of}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def clip_starts(board: Mapping[str, Any]) -> str:
    """A line per method and kind: the share of clips that show the concept by how much of the sampling a clip replaces.

    With Wilson's intervals, which count the clips of all concepts as independent, and the unerased model's share.
    """
    found = [row for row in board["rows"] if "clip_start" in row.get("attack_parts", {})]
    depths = list(dict.fromkeys(title for row in found for title in row["attack_parts"]["clip_start"]))
    lines = [f"| method | of | clips | {' | '.join(depths)} |", f"|{'---|' * (3 + len(depths))}"]
    for name in dict.fromkeys(row["method"] for row in found):
        for style, kind in zip((False, True), KINDS, strict=True):
            own = [row for row in found if row["method"] == name and is_style(row["concept"]) == style]
            if own:
                parts = [[row["attack_parts"]["clip_start"][depth] for row in own] for depth in depths]
                cells = [_counted(own, kind), str(sum(clips for *_, clips in parts[0])), *map(_depth, parts)]
                lines.append(f"| {METHODS[name].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def realism(board: Mapping[str, Any]) -> str:
    """A line per method: the mean distance of clips from the nearest renders, before and after erasing.

    Only the rows that were measured since rows have it.
    """
    found = [row for row in board["rows"] if row.get("realism_after") is not None]
    lines = ["| method | of | training runs | before | after |", f"|{'---|' * 5}"]
    for name in dict.fromkeys(row["method"] for row in found):
        own = [row for row in found if row["method"] == name]
        means = [mean_over_concepts(runs_of(own, f"realism_{when}")) for when in ("before", "after")]
        parts = [[row for row in own if is_style(row["concept"]) == style] for style in (False, True)]
        of = " and ".join(_counted(part, kind) for part, kind in zip(parts, KINDS, strict=True) if part)
        lines.append(f"| {METHODS[name].title} | {of} | {len(own)} | {' | '.join(f'{mean:.2f}' for mean in means)} |")
    return "\n".join(lines)


def _counted(rows: Sequence[Row], kind: str) -> str:
    """How many concepts of a kind these rows have: "1 style"."""
    count = len({row["concept"] for row in rows})
    return f"{count} {kind}{'' if count == 1 else 's'}"


def _depth(parts: Sequence[Sequence[int]]) -> str:
    """The share of the clips of several rows with its interval, and that of the unerased model."""
    shown, control, clips = (sum(counts) for counts in zip(*parts, strict=True))
    return f"{with_interval(shown / clips, wilson_interval(shown, clips))}; {percent(control / clips)}"


def precisions(board: Mapping[str, Any]) -> str:
    """Which training runs computed in which precision; where a method has runs in both, how they differ."""
    rows = with_shares(board["rows"])
    kinds = sorted({row["train_precision"] for row in rows if row.get("train_precision")})
    parts = []
    for kind in kinds:
        counts = Counter(row["method"] for row in rows if row.get("train_precision") == kind)
        parts.append(f"Trained in {kind}: {', '.join(f'{METHODS[name].title} {count}' for name, count in counts.items())}.")
    for name in dict.fromkeys(row["method"] for row in rows):
        of = {kind: [row for row in rows if row["method"] == name and row.get("train_precision") == kind] for kind in kinds}
        shared = set.intersection(*({row["concept"] for row in each} for each in of.values())) if len(of) > 1 else set()
        if len(shared) > 1:
            means = [_means([row for row in each if row["concept"] in shared], kind) for kind, each in of.items()]
            parts.append(f"{METHODS[name].title}, {len(shared)} concepts with other seeds: {'; '.join(means)}.")
    return " ".join([*parts, *_slower(rows)])


def _slower(rows: Sequence[Row]) -> list[str]:
    """How much longer the preset `thorough` trains than `balanced`, on the same concepts and in the same precision."""

    def kind(row: Row) -> tuple[str, str | None]:
        return row["concept"], row.get("train_precision")

    own = {kind(row): row["train_seconds"] for row in rows if row["method"] == THOROUGH}
    ratios = [own[kind(row)] / row["train_seconds"] for row in rows if row["method"] == "velocity" and kind(row) in own]
    if not ratios:
        return []
    return [f"{METHODS[THOROUGH].title} trains {min(ratios):.1f} to {max(ratios):.1f} times as long, in the same precision."]


def _means(rows: Sequence[Row], kind: str) -> str:
    said = [f"{title} {percent(mean_over_concepts(runs_of(rows, key)))}" for key, title in COLUMNS.items()]
    return f"{kind} {', '.join(said)}"
