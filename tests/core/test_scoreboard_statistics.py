"""Intervals over concepts and training runs, and tests that are corrected for their number."""

from __future__ import annotations

import pytest

from benchmarks.board_plan import planned_cells
from benchmarks.methods import METHODS
from benchmarks.scoreboard_judges import DIFFER, judges, with_own_differences
from benchmarks.scoreboard_statistics import bootstrap_interval, holm, mean_over_concepts, runs_of, sign_flip_p
from benchmarks.scoreboard_table import document, markdown, pooled, significant


def test_a_concept_with_more_runs_weighs_no_more() -> None:
    rows = [{"concept": "a", "probe": 0.0}] * 3 + [{"concept": "b", "probe": 1.0}, {"concept": "b", "probe": None}]
    assert mean_over_concepts(runs_of(rows, "probe")) == 0.5


def test_the_interval_covers_concepts_and_runs() -> None:
    alike = {name: [0.5, 0.5] for name in "abcd"}
    apart = {name: [float(place % 2)] * 2 for place, name in enumerate("abcd")}
    unsure = {name: [0.0, 1.0] for name in "abcd"}
    assert bootstrap_interval(alike) == (0.5, 0.5)
    for runs in (apart, unsure):
        low, high = bootstrap_interval(runs) or (0.5, 0.5)
        assert low <= 0.25
        assert high >= 0.75
    assert bootstrap_interval({"a": [0.1, 0.9]}) is None, "one concept says nothing about others"


def test_paired_differences_are_tested_exactly() -> None:
    first, second = ({name: [value] for name in "abcdef"} for value in (0.1, 0.9))
    assert sign_flip_p(first, second) == pytest.approx(2 / 2**6)
    assert sign_flip_p(first, first) == 1.0
    mixed = {name: [0.1 + (0.1 if place % 2 else -0.1)] for place, name in enumerate("abcdef")}
    assert (sign_flip_p(first, mixed) or 0) > 0.5
    assert sign_flip_p({"a": [0.0]}, {"b": [0.0]}) is None


def test_holm_corrects_for_all_comparisons() -> None:
    adjusted = holm({"one": 0.01, "two": 0.04, "three": 0.03})
    assert adjusted == pytest.approx({"one": 0.03, "three": 0.06, "two": 0.06})


def row(method: str, concept: str, shown: list[bool]) -> dict:
    numbers = {"erased_terse": 0.5, "erased_refined": 0.5, "kept": 1.0, "attributes": None, "probe": None}
    kept = {"kept_shown": [True] * 4, "kept_before": [True] * 4}
    times = {"train_seconds": 1.0, "clip_seconds": 1.0}
    return {"method": method, "concept": concept, "shown": shown, "false_alarms": 0.01, **numbers, **kept, **times}


def test_a_mark_needs_more_than_many_clips_of_few_concepts() -> None:
    concepts = [f"concept {number}" for number in range(8)]
    rows = [row("velocity", name, [False] * 20) for name in concepts]
    one = [*rows, *(row("safree", name, [name == "concept 0"] * 20) for name in concepts)]
    assert significant(one, "velocity") == {"safree": set()}, "20 clips of one concept are one concept"
    every = [*rows, *(row("safree", name, [True] * 20) for name in concepts)]
    assert significant(every, "velocity") == {"safree": {"shown"}}
    assert "Holm's correction" in markdown(every)
    six = [each for each in every if each["concept"] < "concept 6"]
    many = [{**each, "method": name} for name in ("esd", "leco", "receler") for each in six if each["method"] == "safree"]
    assert significant([*six, *many], "velocity")["esd"] == set(), "p = 2/64 does not survive four comparisons"
    assert "the first judge 1.0%" in judges([row("base", "ghost", [True])])


def test_further_training_runs_on_the_same_clips_make_no_difference_significant() -> None:
    one = [row("velocity", "ghost", [False] * 8), row("safree", "ghost", [True] * 3 + [False] * 5)]
    assert significant(one, "velocity") == {"safree": set()}
    repeated = [{**one[0], "training_seed": seed} for seed in range(6)] + [
        {**one[1], "training_seed": seed} for seed in range(6)
    ]
    assert significant(repeated, "velocity") == {"safree": set()}


def test_concepts_weigh_the_same_whatever_their_training_runs() -> None:
    rows = [{**row("velocity", "ghost", [True]), "probe": 0.0}] * 3 + [{**row("velocity", "cat", [True]), "probe": 1.0}]
    assert pooled(rows)[0]["probe"] == 0.5


def test_the_interval_of_a_rate_relative_to_before_is_relative_too() -> None:
    near = {**row("base", "ghost", [True]), "neighbours": 1.0, "counts": {"neighbours": [10, 20]}}
    low, high = pooled([near])[0]["neighbours_interval"]
    assert low < 1.0 < high, "10 of 20 clips showed it before, and all of them still do"


def test_a_board_says_how_much_of_the_plan_is_measured() -> None:
    facts = {"base_hash": "b" * 64, "meter": {"per_register": 8, "kept": 24, "rounds": 1}}
    facts |= {"machine": {"cores": 2, "threads": 1, "processor": "x", "torch": "2"}}
    facts |= {"training": {"preset": "balanced", "cut_to_steps": None}}
    rows = [{**row("base", "ghost", [True]), "training_seed": 0, "attack_parts": {}}]
    text = document({"model": "miniature", "rows": rows, **facts})
    assert f"1 of the {len(planned_cells(METHODS))} rows of the plan" in text
    assert "seconds on 2 cores, 1 used" in text
    assert "rows of the plan" not in document({"model": "another", "rows": rows, **facts})


def judged(method: str, concept: str, differ: float, seen_by_second: float) -> dict:
    """A row of 8 clips, of which the first judge sees the concept in none but base's; 12 clips are compared."""
    second = {
        "judges_differ": differ,
        "judge2_erased": seen_by_second,
        "judge2_false_alarms": {"ghost": 0.04, "noir": 0.01}[concept],
    }
    return {**row(method, concept, [method == "base"] * 8), **second}


def test_judges_are_compared_on_each_methods_own_clips() -> None:
    """A row counts base's clips as well: 3 of 24 that differ are 1 of base's 12 and 2 of the method's."""
    rows = [
        judged("base", "ghost", 1 / 12, 7 / 8), judged("velocity", "ghost", 3 / 24, 2 / 8),
        judged("base", "noir", 0.0, 1.0), judged("velocity", "noir", 0.0, 0.0), judged("safree", "noir", 0.0, 0.0),
    ]  # fmt: skip
    own = {(each["method"], each["concept"]): each["counts"][DIFFER] for each in with_own_differences(rows)}
    assert own["velocity", "ghost"] == [2, 12]
    assert own["base", "ghost"] == [1, 12]
    said = judges(rows)
    assert "The judges differ on 5.0% of the clips. By method, more than 5 %: velocity (ours) 8.3%." in said
    assert "on renders, by concept: ghost 4.0%, noir 1.0%." in said
    assert "less the first's: ghost +25 points, noir +0 points." in said
    line = next(line for line in markdown(rows).splitlines() if line.startswith("| velocity"))
    assert "| 8 % (" in line
    without_base = with_own_differences([each for each in rows if each["method"] != "base"])
    assert not any(DIFFER in each for each in without_base), "nothing to take base's clips from"
    assert "No method has more than 5 %" in judges(rows[2:])
