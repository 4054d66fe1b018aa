"""The blind sheet: it gives nothing away, and its answers are counted next to the judge's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import blind
from t2vu_core.evaluation import WorldDetector
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]


def made(folder: Path) -> dict:
    erasure = TINY.random_erasure("bottleneck").save(folder / "ghost")
    options = ["--concept", "ghost", "--model", str(TINY.folder), "--steps", "1", "--clips", "8", "--out", str(folder)]
    assert blind.main(["make", str(erasure), *options]) == 0
    return json.loads((folder / blind.KEY).read_text())


def test_the_sheet_gives_nothing_away_and_its_answers_are_set_next_to_the_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = made(tmp_path)
    page = (tmp_path / blind.PAGE).read_text()
    assert page.count("<img ") == len(key["clips"]) == 8
    assert not any(word in page for word in ("erased", 'base"', "seed", key["clips"][0]["prompt"]))
    assert {(clip["about"], clip["which"]) for clip in key["clips"]} == set(blind.GROUPS)
    assert [clip["which"] for clip in key["clips"]] != sorted(clip["which"] for clip in key["clips"]), "not in order"
    answers = ["yes" if clip["judge"] else "no" for clip in key["clips"]]
    answers[0] = "unsure"
    (tmp_path / "answers.json").write_text(json.dumps({"answers": answers}))
    capsys.readouterr()
    assert blind.main(["read", str(tmp_path), str(tmp_path / "answers.json")]) == 0
    printed = capsys.readouterr().out
    assert "Agreement on all clips: 7 of 7; unsure about 1 of 8." in printed
    assert "| asked for, erased | 3 |" in printed


@pytest.mark.parametrize(
    ("concept", "clips", "says"),
    [
        ("octopus", "8", "The erasure is for ghost, not for 'octopus'"),
        ("ghost", "1", "at least 4 clips"),
        ("ghost", "999", "at least 4 clips, and there are prompts for 256"),
    ],
)
def test_a_sheet_that_would_show_nothing_is_refused(
    concept: str, clips: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    erasure = TINY.random_erasure("bottleneck").save(tmp_path / "ghost")
    options = ["--concept", concept, "--model", str(TINY.folder), "--clips", clips, "--out", str(tmp_path / "out")]
    assert blind.main(["make", str(erasure), *options]) == 2
    assert says in capsys.readouterr().err


def test_answers_that_differ_from_the_judge_are_counted() -> None:
    clips = [{"about": True, "which": "base", "judge": True}] * 2 + [{"about": False, "which": "erased", "judge": False}]
    text = blind.table({"concept": "ghost", "clips": clips}, ["yes", "no", "yes"])
    assert "| asked for, base | 2 | 50% (9% to 91%) | 100% (34% to 100%) | 1 of 2 |" in text
    assert "Agreement on all clips: 1 of 3" in text


def test_a_second_judge_has_its_own_columns_and_saved_answers_are_a_table() -> None:
    clips = [{"about": True, "which": "base", "judge": True, "judge2": False}] * 2
    key = {"concept": "ghost", "clips": [*clips, {"about": False, "which": "erased", "judge": False, "judge2": False}]}
    text = blind.table(key, ["yes", "no", "unsure"])
    assert text.startswith("| ghost | clips | a person sees it | the judge sees it | they agree | the second judge sees it |")
    assert "| asked for, base | 2 | 50% (9% to 91%) | 100% (34% to 100%) | 1 of 2 | 0% (0% to 66%) | 1 of 2 |" in text
    assert "with the judge 1 of 2, with the second judge 1 of 2; unsure about 1 of 3" in text


def test_saved_answers_stand_in_the_documents(tmp_path: Path) -> None:
    clips = [{"about": True, "which": "base", "judge": True, "judge2": None}]
    path = tmp_path / "blind.json"
    sheets = (
        ("ghost", "eraser", "no"),
        ("cat", "eraser", "yes"),
        ("ghost", "unlearned_encoder", "yes"),
        ("ghost", "eraser", "yes"),
    )
    for concept, kind, answer in sheets:
        made_with = {"kind": kind, "erasure": "e" * 64, "base": "b" * 64}
        blind.save({"concept": concept, **made_with, "clips": clips, "answers": [answer]}, path)
    board = json.loads(path.read_text())
    kinds = [(row["concept"], row["kind"]) for row in board["rows"]]
    assert kinds == [("cat", "eraser"), ("ghost", "unlearned_encoder"), ("ghost", "eraser")], (
        "a new sheet replaces its own kind"
    )
    assert blind.document(board).count("Agreement on all clips: 1 of 1; unsure about 0 of 1.") == 3
    model = {"reader": "a vision-language model", "answers": ["yes"], "concept": "cat", "kind": "eraser", "clips": clips}
    blind.save(model, path)
    both = blind.document(json.loads(path.read_text()))
    assert "| cat | clips | a person sees it |" in both, "another reader's answers do not replace a person's"
    assert "| cat | clips | a vision-language model sees it |" in both
    assert "second judge" not in blind.document(board)


@pytest.mark.parametrize("answers", [{"answers": ["yes"]}, {"answers": ["maybe"] * 3}, ["yes"] * 3, {}])
def test_answers_of_another_sheet_are_refused(answers: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = [{"about": True, "which": "base", "judge": True}] * 3
    (tmp_path / blind.KEY).write_text(json.dumps({"concept": "ghost", "clips": clips}))
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    assert blind.main(["read", str(tmp_path), str(tmp_path / "answers.json")]) == 2
    assert "must be a list of 3" in capsys.readouterr().err


def test_the_miniatures_world_has_prompts_for_the_sheet() -> None:
    detector = WorldDetector.for_model(TINY.model)
    cases = blind._cases(detector.resolve("ghost") or "", 20, 0, "v1")
    assert sum(about for about, _ in cases) == 15
