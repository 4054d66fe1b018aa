"""The scoreboard: its methods do what their rows say, and its table pools clips rather than percentages."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch

from benchmarks import scoreboard
from benchmarks.methods import METHODS, _never_advancing, esd, methods, public_port
from benchmarks.published import leco, receler
from benchmarks.scoreboard_apart import realism
from benchmarks.scoreboard_progress import cost, hours
from benchmarks.scoreboard_table import markdown, picture, pooled
from t2vu_core.evaluation.clip_store import weights_hash
from t2vu_core.model import load_model
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]


def row(method: str, shown: list[bool], **changes: object) -> dict:
    numbers = {"erased_terse": 0.5, "erased_refined": 0.5, "kept": 0.9, "attributes": 0.8, "probe": None}
    outcomes = {"shown": shown, "kept_shown": [True] * 27 + [False] * 3, "kept_before": [True] * 30}
    what = {"method": method, "concept": "ghost", "counts": {"erased_terse": [8, 16]}}
    return {**what, **outcomes, **numbers, "train_seconds": 1.0, "clip_seconds": 0.5, **changes}


def test_rows_of_a_method_are_pooled_and_compared_with_ours(tmp_path: Path) -> None:
    rows = [
        row("base", [True] * 40, kept=1.0),
        row("velocity", [False] * 30 + [True] * 2),
        row("velocity", [False] * 32, erased_terse=0.0, probe=0.25, training_seed=1),
        row("safree", [False] * 60 + [True] * 4),
    ]
    ours = next(entry for entry in pooled(rows) if entry["method"] == "velocity")
    assert len(ours["shown"]) == 64
    assert ours["erased_terse"] == 0.25
    assert ours["probe"] == 0.25
    text = markdown(rows)
    cells = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in text.splitlines()}
    assert cells["base"][3] == "100 % (91 to 100 %) ≠"
    assert cells["SAFREE"][3] == "6 % (2 to 15 %)", "not significant"
    assert cells["base"][4].endswith("%)"), "all methods keep the same"
    assert cells["velocity (ours)"][3] == "3 % (2 to 20 %)", "ours is compared with itself, or two runs count as more clips"
    assert "≠ marks a significant difference from velocity (ours)" in text
    assert "| 50 % (28 to 72 %) |" in text
    assert "| 90 % (" in text, "what is kept has its interval"
    assert picture(rows, tmp_path / "board.png").stat().st_size > 5000


def test_methods_are_compared_over_the_concepts_that_both_were_measured_against() -> None:
    rows = [row("base", [True] * 20), row("base", [False] * 20, concept="cat"), row("velocity", [False] * 20)]
    text = markdown(rows)
    assert "| velocity (ours), ghost only |" in text
    assert "| 50 % (0 to 100 %) ≠ |" in text, "only the ghost is compared, and two concepts say little of others"
    apart = [row("base", [True] * 20, concept="cat"), row("velocity", [False] * 20)]
    assert "%) ≠ |" not in markdown(apart), "nothing was measured for both"
    without_ours = [row("base", [True] * 20), row("safree", [False] * 20)]
    assert "| SAFREE | 50 % (28 to 72 %) | 50 % | 0 % (0 to 16 %) ≠ |" in markdown(without_ours)
    assert "significant difference from base" in markdown(without_ours)
    kept_less = row("safree", [False] * 20, kept=0.0, kept_shown=[False] * 30)
    assert "| 0 % (0 to 13 %) ≠ | 80 %" in markdown([row("velocity", [False] * 20), kept_less])
    assert "significant" not in markdown([row("velocity", [False] * 20)]), "there is nothing to compare with"


def test_how_real_clips_look_is_a_mean_over_the_rows_that_know() -> None:
    known = {"realism_before": 1.25, "realism_after": 1.75}
    rows = [
        row("velocity", [False] * 20, **known),
        row("velocity", [False] * 20, concept="in noir style", **known | {"realism_after": 1.25}),
        row("velocity", [False] * 20, concept="cat"),
        row("base", [True] * 20, realism_before=None, realism_after=None),
    ]
    lines = realism({"rows": rows}).splitlines()
    assert lines[2:] == ["| velocity (ours) | 1 subject and 1 style | 2 | 1.25 | 1.50 |"]


def test_a_figure_of_some_concepts_says_of_how_many() -> None:
    rows = [row("base", [True] * 20), row("velocity", [False] * 20, probe=0.5), row("velocity", [False] * 20, concept="cat")]
    assert "| 50 %, 1 of 2 concepts |" in markdown(rows)


def test_the_public_ports_latents_never_advance() -> None:
    family, size = TINY.model.family, TINY.size
    points = list(itertools.islice(_never_advancing(family, size, 60, seed=0), 60))
    assert all(torch.equal(latents, points[0][0]) for latents, _ in points[:50])
    assert len({float(timestep) for _, timestep in points[:50]}) == 50
    assert not torch.equal(points[50][0], points[0][0])


@pytest.mark.parametrize("method", [esd, public_port, receler, leco])
def test_a_trained_method_changes_its_model_and_not_the_base(method: object) -> None:
    before = weights_hash(TINY.model.family)
    erased = method(TINY.model, "ghost", 0, steps=2)  # type: ignore[operator]
    assert weights_hash(TINY.model.family) == before
    options = {"seeds": 1, "num_inference_steps": 2}
    assert (erased.model.sample("a ghost", **options) - TINY.model.sample("a ghost", **options)).abs().max() > 1e-5
    assert erased.train_seconds > 0


def test_every_method_has_a_title_and_guards_need_no_training() -> None:
    for name in ("base", "negative_prompt", "safree", "video_eraser"):
        assert not METHODS[name].trained
        assert METHODS[name].apply(TINY.model, "ghost", 0).train_seconds == 0
    assert METHODS["safree"].apply(TINY.model, "ghost", 0).model.guard is not None


def board(out: Path, *arguments: str) -> int:
    few = ["--clips", "1", "--kept-clips", "2", "--steps", "2", "--train-steps", "1", "--training", "quick", "--seeds", "1"]
    return scoreboard.main(["--model", str(TINY.folder), "--out", str(out), *few, *arguments])


def rows_in(out: Path) -> dict[tuple[str, str], dict]:
    rows = json.loads((out / "scoreboard.json").read_text())["rows"]
    return {(row["method"], row["concept"]): row for row in rows}


def test_a_board_is_made_in_parts_and_repeats_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert board(tmp_path, "--concepts", "ghost", "--methods", "base,negative_prompt", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    fields = set(scoreboard.FIELDS)
    assert {"training_seed", "erased_any_frame", "neighbours", "natural", "clip_start", "judge2_erased"} <= fields
    assert [row["method"] for row in printed] == ["base", "negative_prompt"]
    assert all(fields | {"train_seconds", "clip_seconds"} <= set(row) for row in printed)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()}
    assert board(tmp_path, "--concepts", "robot,ghost", "--methods", "negative_prompt") == 0
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert "negative_prompt robot 0: about" in capsys.readouterr().err
    assert board(tmp_path, "--concepts", "ghost", "--methods", "base,negative_prompt", "--probe") == 0
    assert "rows to make" not in capsys.readouterr().err, "the plan attacks neither, so both rows are whole"
    assert set(rows_in(tmp_path)) == {("base", "ghost"), ("negative_prompt", "ghost"), ("negative_prompt", "robot")}
    assert "| negative prompt |" in (tmp_path / "scoreboard.md").read_text()
    assert (tmp_path / "scoreboard.png").stat().st_size > 5000
    assert board(tmp_path, "--concepts", "ghost", "--methods", "safree", "--minutes", "0") == 0
    assert ("safree", "ghost") not in rows_in(tmp_path), "the time was up before it began"
    assert board(tmp_path, "--concepts", "ghost", "--methods", "base", "--steps", "1") == 0
    assert set(rows_in(tmp_path)) == {("base", "ghost")}, "rows of another meter do not mix"


def test_another_spelling_of_a_concept_has_the_same_rows() -> None:
    detector = scoreboard.judges_for(load_model("miniature"), False)
    assert scoreboard._as_planned(detector, "noir style") == "in noir style"
    assert scoreboard._as_planned(detector, "santa") == "santa", "not planned"


def test_another_checkout_goes_on_from_the_saved_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    monkeypatch.setattr(scoreboard, "RESULTS", tmp_path / "results")
    asked = ("--concepts", "ghost", "--methods", "base")
    assert board(tmp_path / "first", *asked, "--save") == 0
    made = rows_in(tmp_path / "first")["base", "ghost"]
    capsys.readouterr()
    assert board(tmp_path / "second", *asked) == 0
    assert "rows to make" not in capsys.readouterr().err
    assert rows_in(tmp_path / "second")["base", "ghost"] == made
    assert board(tmp_path / "third", *asked, "--save", "--clips", "2") == 2
    assert "The saved board has another meter" in capsys.readouterr().err
    assert board(tmp_path / "third", *asked, "--save", "--training", "balanced") == 2
    assert "The saved board has another training" in capsys.readouterr().err
    assert json.loads(next((tmp_path / "results").glob("*.json")).read_text())["rows"][0]["key"] == made["key"]


def test_a_row_is_saved_before_the_next_one_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoreboard, "RESULTS", tmp_path / "results")
    made, measure = [], scoreboard.measure

    def stop_at_the_second(*arguments: object, **options: object) -> dict:
        if made:
            raise KeyboardInterrupt
        made.append(1)
        return measure(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(scoreboard, "measure", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        board(tmp_path / "out", "--concepts", "ghost", "--methods", "base,safree", "--save")
    (saved,) = (tmp_path / "results").glob("*.json")
    assert [row["method"] for row in json.loads(saved.read_text())["rows"]] == ["base"]


def test_the_estimate_says_what_the_whole_plan_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--concepts", "ghost", "--estimate")
    assert board(tmp_path, *asked, "--methods", "base") == 0
    assert "The rows so far took 0.0 core-hours, the missing ones take about" in capsys.readouterr().err
    assert hours([{"row_seconds": 5400.0}, {"row_seconds": 1800.0}, {}], threads=2) == 4.0
    assert cost(1.5, 2.0) == "The rows so far took 1.5 core-hours, the missing ones take about 2.0: 3.5 in all"


def test_a_row_that_fails_is_said_and_the_others_are_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Clips of another size cannot be compared with the model's own.
    named = f"ghost={TINY_MODELS['wan-2.1'].folder}"
    assert board(tmp_path, "--concepts", "ghost", "--methods", "never_knew,base", "--never-knew", named) == 1
    assert "never_knew ghost 0 failed" in capsys.readouterr().err
    assert set(rows_in(tmp_path)) == {("base", "ghost")}


def test_a_model_that_never_knew_has_a_row_that_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(5)
    TINY.build().save_pretrained(tmp_path / "never")
    named = f"ghost={tmp_path / 'never'}"
    both = ["--never-knew", named, "--never-knew", f"in noir style={tmp_path / 'never'}"]
    assert board(tmp_path, "--concepts", "ghost,robot,in noir style", "--methods", "never_knew", *both) == 0
    assert set(rows_in(tmp_path)) == {("never_knew", "ghost"), ("never_knew", "in noir style")}
    capsys.readouterr()
    assert board(tmp_path, "--concepts", "ghost", "--methods", "base") == 0
    assert set(rows_in(tmp_path)) == {("base", "ghost"), ("never_knew", "ghost"), ("never_knew", "in noir style")}
    assert "left out" not in capsys.readouterr().err
    assert board(tmp_path, "--concepts", "ghost,robot", "--methods", "never_knew", "--estimate") == 0
    assert capsys.readouterr().err.count("left out") == 1, "the plan has no such row for the robot"


def test_a_row_belongs_to_its_methods_settings() -> None:
    usual, short = methods(), methods(steps=3)
    for name in ("esd", "public_port", "receler", "leco", "encoder", "velocity"):
        assert usual[name].settings != short[name].settings
        assert short[name].settings["steps"] == 3
    assert usual["public_port"].settings["steps"] == 500
    assert usual["video_eraser"].settings["name"] == "video_eraser"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--methods", "magic"], "no method 'magic'; there are base"),
        (["--concepts", "unicorn", "--methods", "base"], "does not know the concept 'unicorn'"),
        (["--never-knew", "ghost"], "takes CONCEPT=FOLDER"),
        (["--clips", "0", "--methods", "base"], "per_register must be >= 1"),
        (["--saved", "--model", "nowhere"], "The board of nowhere has not been measured"),
    ],
)
def test_wrong_input_of_the_board_is_one_sentence(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert board(tmp_path, *arguments) == 2
    assert says in capsys.readouterr().err
