"""Intervals over concepts and training runs, and tests that are corrected for their number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import rounds, scoreboard, scoreboard_apart, scoreboard_then
from benchmarks.board_plan import planned_cells
from benchmarks.methods import METHODS, THOROUGH
from benchmarks.scoreboard_comparisons import document as comparisons_document
from benchmarks.scoreboard_comparisons import family, significant
from benchmarks.scoreboard_independent import document as independent
from benchmarks.scoreboard_judges import DIFFER, disagreement, judges, with_own_differences
from benchmarks.scoreboard_progress import is_done
from benchmarks.scoreboard_statistics import (
    SHOWN,
    about_intervals,
    bootstrap_interval,
    holm,
    interval_of,
    mean_over_concepts,
    runs_of,
    sign_flip_p,
)
from benchmarks.scoreboard_table import document, markdown, pooled, summary
from t2vu_core.evaluation.attacks.other_settings import RUNS as OTHER_SETTINGS
from t2vu_core.evaluation.second_judge.accuracy import ACCURACY_FILE


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


FACTS = {
    "base_hash": "b" * 64,
    "meter": {"per_register": 8, "kept": 24, "rounds": 1},
    "machine": {"cores": 2, "threads": 1, "processor": "x", "torch": "2"},
    "training": {"preset": "balanced", "cut_to_steps": None},
}


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
    assert significant(every, "velocity") == {"safree": {SHOWN}}
    assert "Holm's correction" in markdown(every)
    six = [each for each in every if each["concept"] < "concept 6"]
    many = [{**each, "method": name} for name in ("esd", "leco", "receler") for each in six if each["method"] == "safree"]
    assert significant([*six, *many], "velocity")["esd"] == set(), "p = 2/64 does not survive so many comparisons"


def many(method: str, concepts: int = 12, **changes: float) -> list[dict]:
    shown = [method == "base"] * 10
    return [{**row(method, f"concept {number}", shown), **changes} for number in range(concepts)]


def test_all_comparisons_of_both_our_methods_are_one_family() -> None:
    good, bad = {"clean": 0.9, "attributes": 0.9, "probe": 0.1}, {"clean": 0.2, "attributes": 0.9, "probe": 0.8}
    rows = [*many("base", clean=0.0, attributes=0.9), *many("esd", **bad), *many("velocity", **good), *many("encoder", **good)]
    found = {(each.ours, each.other, each.outcome): each for each in family(rows)}
    # Shown, kept, attributes and clean of five pairs, PROBE of the three pairs that have it.
    assert len(found) == 5 * 4 + 3
    assert {(ours, other) for ours, other, _ in found} == {
        ("velocity", "base"), ("velocity", "esd"), ("velocity", "encoder"), ("encoder", "base"), ("encoder", "esd"),
    }  # fmt: skip
    # The uncorrected p of 12 differences of the same sign is 2/4096; 23 comparisons multiply it.
    assert found["encoder", "esd", "clean"].p == pytest.approx(23 * 2 / 4096)
    assert found["velocity", "esd", "probe"].difference == pytest.approx(-0.7)
    assert found["velocity", "esd", "kept"].p == 1.0
    assert significant(rows, "velocity") == {"base": {SHOWN, "clean"}, "esd": {"clean", "probe"}, "encoder": set()}
    text = comparisons_document({"rows": rows})
    assert "One family of 23 comparisons" in text
    assert "| few-shot encoder (ours) against ESD, attention | +0.0 points, p 1.0000 |" in text
    assert "**+70.0 points, p 0.0112**" in text
    fewer = comparisons_document({"rows": [*many("esd", **bad, concepts=6), *many("velocity", **good)]})
    assert "none of them can be significant" in fewer, "5 comparisons with p >= 2/64 each"


def test_a_row_of_few_concepts_has_no_mark_where_others_are_tested() -> None:
    rows = [*many("base"), *many("velocity"), *many("velocity_thorough", concepts=2)]
    assert significant(rows, "velocity")["velocity_thorough"] == set()
    shown = [{**each, "shown": [True] * 10} for each in many("esd", concepts=2)]
    assert significant([*rows, *shown], "velocity")["esd"] == set(), "its clips of two concepts are no test by concept"
    assert "share fewer than 6 concepts with it are not tested" in markdown(rows)


def test_the_interval_says_what_it_does_not_cover() -> None:
    once = [row("velocity", "ghost", [True]), row("velocity", "cat", [True])]
    assert "do not cover the variation between training runs" in about_intervals(once)
    assert "clips as independent" in about_intervals(once)
    assert "do not cover" not in about_intervals([*once, *once])


def test_where_concepts_agree_the_clips_limit_the_interval() -> None:
    rows = [row("velocity", name, [False] * 8) for name in ("ghost", "cat")]
    low, high = interval_of(rows, "kept") or (1.0, 1.0)
    assert low < 0.9, "eight clips that all kept it do not prove 100 %"
    assert high > 1.0
    seconds = [{**each, "train_seconds": value} for each, value in zip(rows, (100.0, 200.0), strict=True)]
    assert interval_of([{**each, "probe": 0.5} for each in rows], "probe") is None, "two equal rates without counts"
    low, high = interval_of(seconds, "train_seconds") or (150.0, 150.0)
    assert low == 0.0, "no training takes less than no time"
    assert high > 200.0


def test_clips_that_still_show_the_concept_are_not_clean() -> None:
    """The share of natural clips alone is high for a method that erases nothing."""
    facts = {"natural": 0.875, "clean": 0.0, "counts": {"natural": [7, 8], "clean": [0, 8]}}
    rows = [{**row("base", name, [True] * 8), **facts, "attack_parts": {}} for name in ("ghost", "cat")]
    board = {"model": "miniature", "rows": rows, **FACTS}
    assert "| clean | natural |" in document(board)
    (line,) = (line for line in document(board).splitlines() if line.startswith("| base"))
    assert "| 0 % (0 to 19 %) | 88 % (" in line
    readme = summary(board)
    assert "|clean|" in readme
    assert "natural" not in readme
    assert "0% (0-19)" in readme


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
    planned = {"attack_parts": {}, "training_seed": 0, "row_seconds": 1800.0}
    guard, trained = ({**row(name, "ghost", [True]), **planned} for name in ("safree", "esd"))
    attacked = {**row("paper", "pizza", [True]), **planned, "probe": 0.1, "clip_start": 0.2}
    text = document({"model": "miniature", "rows": [guard, trained, attacked], **FACTS})
    assert f"2 of {len(planned_cells(METHODS))} rows of the plan are done; 1 more lacks only its attacks." in text
    assert "The rows took 1.5 core-hours." in text
    assert "2 cores, 1 used" in text
    assert "The plan leaves out attacks on guards" in text
    assert "rows of the plan" not in document({"model": "another", "rows": [guard], **FACTS})
    strong = {**trained, "probe": 0.1, "clip_start": 0.2, "prompt_attack": 0.0, **dict.fromkeys(OTHER_SETTINGS, 0.0)}
    assert not is_done(strong), "PROBE at strength and the fine-tuning are missing"
    assert is_done({**strong, "probe_strong": 0.5, "regrowth": 0.5})
    assert is_done({**trained, "training_seed": 1}), "only the first training run is attacked"


def test_the_readme_says_on_how_many_concepts_a_row_was_measured() -> None:
    rows = [row("velocity", name, [False]) for name in ("ghost", "cat", "in noir style")]
    rows += [row("safree", name, [True]) for name in ("ghost", "in noir style")] + [row("leco", "ghost", [True])]
    board = {"model": "miniature", "rows": rows, **FACTS}
    assert "| SAFREE, 2 concepts|" in summary(board)
    assert "| LECO, 1 concept|" in summary(board)
    assert "| SAFREE, ghost, in noir style only |" in document(board)


def test_the_readme_says_how_many_training_runs_a_concept_has() -> None:
    rows = [{**row(name, "ghost", [False]), "training_seed": 0} for name in ("velocity", "encoder")]
    assert "1 concepts; our methods: 1 of 3 training runs a concept. 0 of" in summary(
        {"model": "miniature", "rows": rows, **FACTS}
    )
    more = [*rows, {**rows[0], "training_seed": 1}]
    assert "1 to 2 of 3 training runs" in summary({"model": "miniature", "rows": more, **FACTS})


def test_our_means_are_told_without_the_concepts_that_gave_hints() -> None:
    rows = [
        {**row("velocity", name, [name == "ghost"] * 4), "clean": 1.0} for name in ("ghost", "in noir style", "cat", "pizza")
    ]
    lines = independent({"rows": rows}).splitlines()
    assert lines[2].startswith("| velocity (ours) | all (4) | 25 % (")
    assert lines[3].startswith("| velocity (ours) | all but ghost and in noir style (2) | 0 % (")
    assert len(lines) == 4, "the encoder was not measured"


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
    assert "on renders, by concept: ghost 4.0%; noir 1.0%." in said
    assert "less the first's: ghost +25 points, noir +0 points." in said
    line = next(line for line in markdown(rows).splitlines() if line.startswith("| velocity"))
    assert "| 8 % (" in line
    assert "The judges differ on" not in disagreement(rows), "5 % is not more than 5 %"
    apart = [{**each, "judges_differ": 0.5} for each in rows]
    assert disagreement(apart) == "The judges differ on 50% of clips."
    without_base = with_own_differences([each for each in rows if each["method"] != "base"])
    assert not any(DIFFER in each for each in without_base), "nothing to take base's clips from"
    assert "No method has more than 5 %" in judges(rows[2:])


def test_the_errors_of_both_judges_come_with_counts_and_intervals() -> None:
    (counts,) = (stored["ghost"] for stored in json.loads(ACCURACY_FILE.read_text()).values())
    share = counts["false_alarms"] / counts["without"]
    base = {**judged("base", "ghost", 0.0, 0.5), "false_alarms": 0.25, "judge2_false_alarms": share}
    said = judges([base])
    assert "the first judge on 25.0% (4.6 to 69.9 %) of 4 clips of other concepts" in said
    assert f"the second {share:.1%} (" in said
    assert f" of {counts['without']} answers" in said
    assert "the first judge sees it in 100.0% (67.6 to 100.0 %) of 8, the second in 50.0% (21.5 to 78.5 %) of 8" in said
    assert "sees ghost least" in said
    unknown = judges([{**base, "judge2_false_alarms": 0.123}])
    assert "the second 12" not in unknown, "no stored judge has this rate, so its counts are unknown"


def test_further_training_runs_on_the_same_clips_make_no_interval_narrower() -> None:
    rows = [{**row("velocity", name, [False] * 8), "probe": 0.0, "counts": {"probe": [0, 8]}} for name in ("ghost", "cat")]
    again = [{**each, "training_seed": seed} for each in rows for seed in range(3)]
    for key in ("probe", "kept"):
        assert interval_of(again, key) == interval_of(rows, key)
    worse = [{**rows[0], "training_seed": 1, "probe": 1.0, "counts": {"probe": [8, 8]}}]
    low, high = interval_of([rows[0], *worse], "probe") or (0.0, 0.0)
    assert low <= 0.5 <= high, "the mean of the runs lies in it"


def test_the_board_is_taken_apart_by_kind_depth_and_precision() -> None:
    rows = [
        {**row("velocity", "ghost", [False] * 4), "train_precision": "bf16"},
        {**row("velocity", "cat", [False] * 4), "train_precision": "bf16"},
        {**row("velocity", "ghost", [True] * 4), "train_precision": "float32", "training_seed": 1},
        {**row("velocity", "cat", [False] * 4), "train_precision": "float32", "training_seed": 1},
        row("velocity", "in noir style", [True, False]),
    ]
    parts = {"33% of the steps skipped": [1, 2, 8], "67% of the steps skipped": [4, 8, 8]}
    rows[0]["attack_parts"] = {"clip_start": parts}
    rows[1]["attack_parts"] = {"clip_start": {title: [0, 0, 8] for title in parts}}
    board = {"rows": rows}
    assert "| velocity (ours) (2 subjects and 1 style) | 25 % |" in scoreboard_apart.by_kind(board)
    starts = scoreboard_apart.clip_starts(board)
    assert "| velocity (ours) | 2 subjects | 16 | 6 % (1 to 28 %); 12 % | 25 % (10 to 49 %); 50 % |" in starts
    text = scoreboard_apart.precisions(board)
    assert "Trained in bf16: velocity (ours) 2. Trained in float32: velocity (ours) 2." in text
    assert "2 concepts with other seeds: bf16 still shown 0 %" in text
    assert "float32 still shown 50 %" in text
    assert "times as long" not in text, "no row of the other preset"
    thorough = {**rows[0], "method": THOROUGH, "train_seconds": 3 * rows[0]["train_seconds"]}
    other = {**rows[2], "method": THOROUGH, "concept": "cat", "train_precision": "float16"}
    text = scoreboard_apart.precisions({"rows": [*rows, thorough, other]})
    assert text.endswith("velocity, preset thorough (ours) trains 3.0 to 3.0 times as long, in the same precision.")


def test_what_became_worse_since_version_0_1_is_named() -> None:
    saved = json.loads((scoreboard.RESULTS / "scoreboard-0.1.json").read_text())["rows"]
    rows = [{**each, "concept": f"in {each['concept']}" if " style" in each["concept"] else each["concept"]} for each in saved]
    assert "Nothing became worse." in scoreboard_then.document({"rows": rows})
    slower = [{**each, "train_seconds": 2 * each["train_seconds"], "kept": 0.5 * each["kept"]} for each in rows]
    text = scoreboard_then.document({"rows": slower})
    assert "velocity (ours): others kept (99.4 % -> 49.7 %); velocity (ours): train s" in text
    assert "base: train s" not in text, "nothing is trained there"


def test_a_figure_of_fewer_concepts_than_its_line_says_so() -> None:
    saved = json.loads((scoreboard.RESULTS / "scoreboard-0.1.json").read_text())["rows"]
    today = {each["concept"]: f"in {each['concept']}" if " style" in each["concept"] else each["concept"] for each in saved}
    rows = [
        {**each, "concept": today[each["concept"]], "probe": 0.25 if each["concept"] == "ghost" else None}
        for each in saved
        if each["method"] == "esd"
    ]
    assert "- -> 25.0 % (1 concept)" in scoreboard_then.document({"rows": rows})


def test_rows_of_thorough_without_rounds_stand_next_to_todays(tmp_path: Path) -> None:
    """They are on two concepts; a concept without a row of today is left out."""
    today = [
        {"method": THOROUGH, "concept": concept, "probe_strong": 0.0, "attack_parts": {"probe": {"random": [0, 24, 24]}}}
        for concept in ("ghost", "in noir style")
    ]
    before = json.loads((scoreboard.RESULTS / "thorough-without-rounds.json").read_text())
    (tmp_path / "today.json").write_text(json.dumps({"rows": today}))
    text = rounds.document(before, tmp_path / "today.json")
    assert "| ghost | 6 of 24 (25 %) | 0 of 24 (0 %) | p 0.02 |" in text
    assert "| together | 12 of 48 (25 %) | 0 of 48 (0 %) | p 0.00 |" in text
    (tmp_path / "today.json").write_text(json.dumps({"rows": today[:1]}))
    assert "together" not in rounds.document(before, tmp_path / "today.json")
