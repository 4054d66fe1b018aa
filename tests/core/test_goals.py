"""The goals' table: means over concepts, intervals that do not promise too much, and no verdict on what was not measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.goals import VELOCITY, main
from benchmarks.scoreboard_statistics import SHOWN
from benchmarks.scoreboard_table import pooled

NAMES = [goal.key for goal in VELOCITY]


def row(concept: str, method: str = "velocity", clips: int = 16, **changes: object) -> dict:
    good = {"kept": 1.0, "attributes": 1.0, "other_subject": 1.0, "train_seconds": 90.0}
    numbers = {**dict.fromkeys(NAMES, 0.0), **good, **changes}
    shares = [name for name in NAMES if name not in (SHOWN, "kept", "train_seconds") and numbers[name] is not None]
    counts = {name: [round(numbers[name] * clips), clips] for name in shares}  # type: ignore[call-overload]
    return {"method": method, "concept": concept, "counts": counts, **numbers}


def told(folder: Path, rows: list[dict], capsys: pytest.CaptureFixture[str], *more: str) -> dict:
    (folder / "scoreboard.json").write_text(json.dumps({"rows": rows}))
    assert main([str(folder), "--json", *more]) == 0
    return {entry["goal"]: entry for entry in json.loads(capsys.readouterr().out)["goals"]}


def test_each_concept_counts_once_however_often_it_was_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row("ghost", erased_terse=0.0), row("ghost", erased_terse=0.1), row("cat", erased_terse=0.01)]
    goal = told(tmp_path, [*rows, row("ghost", "base", erased_terse=0.9)], capsys)["erased_terse"]
    assert goal["mean"] == pytest.approx((0.05 + 0.01) / 2)
    assert goal["met"] is False
    assert (goal["worst"], goal["base"]) == ("ghost", 0.9)


def test_nothing_shown_in_few_clips_is_no_proof_of_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = told(tmp_path, [row("ghost", clips=4), row("cat", clips=4)], capsys)["erased_terse"]
    many = told(tmp_path, [row("ghost", clips=400), row("cat", clips=400)], capsys)["erased_terse"]
    assert few["mean"] == many["mean"] == 0
    assert few["interval"][1] > 0.2 > 0.02 > many["interval"][1] > 0


def test_concepts_that_differ_make_the_interval_wide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    goal = told(tmp_path, [row("ghost", clips=4000, probe=0.0), row("cat", clips=4000, probe=1.0)], capsys)["probe"]
    assert goal["interval"] == [0, 1]


def test_a_mean_over_some_concepts_says_over_how_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row("ghost", probe=0.3), row("ghost", probe=0.1), row("cat", probe=None), row("cat", probe=None)]
    rows = [{**each, "train_seconds": None} for each in rows]
    goals = told(tmp_path, rows, capsys)
    assert goals["probe"]["mean"] == pytest.approx(0.2), "no run of the cat was attacked"
    assert goals["probe"]["met"] is False
    assert goals["kept"]["met"] is True
    assert main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "mean over 2 concepts (ghost, cat)" in printed
    assert "| shown under PROBE | <= 10.0 % | 20.0 %" in printed
    assert ", 1 of 2 concepts | ghost | - | no |" in printed
    assert "| training | <= 120 s | - | - | - | not measured |" in printed


def test_a_training_run_without_the_number_leaves_its_concept_out_unless_one_run_is_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    rows = [row("ghost"), row("cat", probe=0.1), row("cat", probe=None, train_seconds=None)]
    rows[0] |= {"probe": 0.3, "counts": {}, "train_seconds": 40.0}
    goals = told(tmp_path, rows, capsys)
    assert goals["probe"]["mean"] == pytest.approx(0.2), "only the first run of a concept is attacked"
    assert goals["train_seconds"]["mean"] == pytest.approx(40.0)


def test_clips_of_two_subjects_count_for_the_goal_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row("ghost", shown=[False] * 48 + [True] * 16), row("cat", shown=[False] * 64)]
    goal = told(tmp_path, rows, capsys)[SHOWN]
    assert goal["mean"] == 0.125
    assert goal["interval"][0] < 16 / 128 < goal["interval"][1]
    assert goal["met"] is False


def test_a_folder_without_a_board_or_without_the_method_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "measure first" in capsys.readouterr().err
    (tmp_path / "scoreboard.json").write_text(json.dumps({"rows": [row("ghost", "esd")]}))
    assert main([str(tmp_path)]) == 2
    assert "no row of 'velocity'; it has esd" in capsys.readouterr().err


def test_a_goal_for_the_worst_concept_is_not_met_by_the_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PROBE at strength is run on one training run of a concept."""
    rows = [row(name, probe_strong=0.0) for name in ("cat", "robot", "octopus", "pizza")]
    rows += [row("ghost", probe_strong=0.2), row("ghost", probe_strong=None)]
    goal = told(tmp_path, rows, capsys)["probe_strong"]
    assert (goal["mean"], goal["concepts"], goal["worst"]) == (pytest.approx(0.04), 5, "ghost")
    assert goal["met"] is False
    assert told(tmp_path, [*rows[:4], row("ghost", probe_strong=0.1)], capsys)["probe_strong"]["met"] is True


def test_the_goals_have_the_intervals_of_the_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(name, clips=24, probe=share) for name, share in (("ghost", 0.5), ("cat", 0.0), ("pizza", 0.25))]
    outcomes = {"shown": [False] * 30 + [True] * 2, "kept_shown": [True] * 20, "kept_before": [True] * 20}
    rows = [{**each, **outcomes} for each in rows]
    goals, (entry,) = told(tmp_path, rows, capsys), pooled(rows)
    for key in ("probe", "clean", "kept", SHOWN):
        assert goals[key]["mean"] == entry[key]
        assert goals[key]["interval"] == list(entry[f"{key}_interval"])
    assert goals["kept"]["interval"][0] < 1.0, "20 clips that kept everything do not prove 100 %"
    assert main([str(tmp_path)]) == 0
    assert "do not cover the variation between training runs" in capsys.readouterr().out
