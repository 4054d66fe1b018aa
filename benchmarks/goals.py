"""The goals of our methods on the miniature, and the measured values: `python -m benchmarks.goals scoreboard`.

Each number is the mean over concepts, after the mean over the seeds of each concept. Measure with
`python -m benchmarks.scoreboard --probe --methods base,velocity --concepts A,B,...`, eight concepts or more. The JSON of
the ablations works too; `--method` then names a row.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.scoreboard_statistics import SHOWN, about_intervals, interval_of, with_shares
from t2vu_core.errors import UserError

FILES = ("scoreboard.json", "ablations.json")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """A number in the board's rows and its limit: an upper or a lower one."""

    key: str
    title: str
    most: float | None = None
    least: float | None = None
    unit: str = "%"
    worst_most: float | None = None
    """The upper limit of the worst concept, if it has one of its own."""
    every_run: bool = True
    """Whether all training runs of a concept are measured; a mean over some of several would not be that of the concept."""

    def met(self, value: float) -> bool:
        """Whether a value is within the limit."""
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)

    def limited_to(self, limit: float) -> Goal:
        """The same number with another limit of the same kind."""
        return replace(self, least=limit) if self.most is None else replace(self, most=limit)

    def limit(self) -> str:
        """The limit as text."""
        worst = "" if self.worst_most is None else f", worst <= {self.say(self.worst_most)}"
        return f"<= {self.say(self.most)}{worst}" if self.most is not None else f">= {self.say(self.least)}"

    def say(self, value: float | None) -> str:
        if value is None:
            return "-"
        return f"{100 * value:.1f} %" if self.unit == "%" else f"{value:.0f} {self.unit}"


VELOCITY = (
    Goal("erased_terse", "still shown, short prompts", most=0.02),
    Goal("erased_synonym", "still shown, other names", most=0.03),
    Goal("erased_refined", "still shown, refined prompts", most=0.03),
    Goal(SHOWN, "still shown, all prompts including two subjects", most=0.03),
    Goal("kept", "other concepts kept, relative to base", least=0.98),
    Goal("attributes", "other attributes of the same prompts", least=0.95),
    Goal("other_subject", "the other subject of two", least=0.90),
    Goal("clean", "neither the concept nor debris", least=0.90),
    Goal("probe", "shown under PROBE", most=0.10, every_run=False),
    Goal(
        "probe_strong",
        "shown under PROBE of 600 steps, best of three starts",
        most=0.05,
        worst_most=0.15,
        every_run=False,
    ),
    Goal("train_seconds", "training", most=120.0, unit="s"),
)
ENCODER_LIMITS = {
    "erased_terse": 0.05, "erased_synonym": 0.08, "erased_refined": 0.08, SHOWN: 0.05, "kept": 0.95, "attributes": 0.90,
    "train_seconds": 30.0,
}  # fmt: skip
ENCODER = tuple(goal.limited_to(ENCODER_LIMITS[goal.key]) for goal in VELOCITY if goal.key in ENCODER_LIMITS)


def goals_of(method: str) -> Sequence[Goal]:
    """Few-shot unlearning has its own goals; every other method is compared with those of velocity erasing."""
    return ENCODER if method == "encoder" else VELOCITY


def main(arguments: list[str] | None = None) -> int:
    """Print the table, or its numbers as JSON."""
    options = _parser().parse_args(arguments)
    try:
        rows = read_rows(Path(options.board))
        found = compared(rows, options.method)
    except UserError as error:
        print(f"goals: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1) if options.json else table(found))
    return 0


def read_rows(board: Path) -> list[dict[str, Any]]:
    """The rows in a board's folder or JSON file. Raises UserError if there are none."""
    files = [board] if board.is_file() else [board / name for name in FILES if (board / name).is_file()]
    if not files:
        raise UserError(f"{board} holds no {' or '.join(FILES)}; measure first with `python -m benchmarks.scoreboard`.")
    try:
        rows: list[dict[str, Any]] = json.loads(files[0].read_text(encoding="utf-8"))["rows"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{files[0]} is not a scoreboard ({error!r}).") from error
    return rows


def compared(rows: Sequence[Row], method: str) -> dict[str, Any]:
    """For every goal the mean over concepts, its interval, the worst concept, the base's mean, and whether it is met."""
    rows = with_shares(rows)
    own = [row for row in rows if row["method"] == method]
    if not own:
        names = ", ".join(dict.fromkeys(row["method"] for row in rows))
        raise UserError(f"The board has no row of {method!r}; it has {names or 'no rows'}.")
    concepts = list(dict.fromkeys(row["concept"] for row in own))
    base = [row for row in rows if row["method"] == "base" and row["concept"] in concepts]
    goals = [{"goal": goal.key, **measured(goal, own), "base": mean(by_concept(goal, base))} for goal in goals_of(method)]
    return {"method": method, "concepts": concepts, "runs": len(own), "about": about_intervals(own), "goals": goals}


def measured(goal: Goal, rows: Sequence[Row]) -> dict[str, Any]:
    """The mean over the concepts that have the number, with its 95 % interval, that of the board; None if none has it."""
    single = by_concept(goal, rows)
    value = mean(single)
    if value is None:
        return {"mean": None, "interval": None, "worst": None, "met": None, "concepts": 0}
    worst = (max if goal.most is not None else min)(single, key=lambda name: single[name])
    there = [row for row in rows if row["concept"] in single]
    bounds = interval_of(there, goal.key)
    met = goal.met(value) and (goal.worst_most is None or single[worst] <= goal.worst_most)
    return {"mean": value, "interval": bounds and list(bounds), "worst": worst, "met": met, "concepts": len(single)}


def by_concept(goal: Goal, rows: Sequence[Row]) -> dict[str, float]:
    """The mean over the seeds of each concept whose every seed has the number, or any where one is enough."""
    seeds: dict[str, list[float | None]] = {}
    for row in rows:
        seeds.setdefault(row["concept"], []).append(row.get(goal.key))
    whole = {name: [value for value in values if value is not None] for name, values in seeds.items()}
    least = {name: len(values) if goal.every_run else 1 for name, values in seeds.items()}
    return {name: sum(values) / len(values) for name, values in whole.items() if len(values) >= least[name]}


def mean(single: Mapping[str, float]) -> float | None:
    return sum(single.values()) / len(single) if single else None


def table(found: Mapping[str, Any]) -> str:
    """As Markdown, below a line about what was measured."""
    concepts, verdicts = found["concepts"], {None: "not measured", True: "yes", False: "no"}
    lines = [
        f"{found['method']}, mean over {len(concepts)} concepts ({', '.join(concepts)}), {found['runs']} training runs. "
        f"{found['about']}",
        "",
        "| | goal | measured (95 %) | worst concept | base | met |",
        f"|{'---|' * 6}",
    ]
    for goal, row in zip(goals_of(found["method"]), found["goals"], strict=True):
        cell = goal.say(row["mean"])
        if row["interval"]:
            low, high = row["interval"]
            cell += f" ({goal.say(low)} to {goal.say(high)})"
        if 0 < row["concepts"] < len(concepts):
            cell += f", {row['concepts']} of {len(concepts)} concepts"
        verdict = verdicts[row["met"]]
        if row["met"] and row["interval"] and not all(map(goal.met, row["interval"])):
            verdict = "yes, but not the whole interval"
        worst, base = row["worst"] or "-", "-" if goal.unit != "%" else goal.say(row["base"])
        lines.append(f"| {goal.title} | {goal.limit()} | {cell} | {worst} | {base} | {verdict} |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="goals", description=__doc__)
    parser.add_argument("board", nargs="?", default="scoreboard", help="the folder of a scoreboard or ablations, or its JSON")
    parser.add_argument("--method", default="velocity", help="whose rows; of ablations the name of a row, such as reference")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
