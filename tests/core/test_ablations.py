"""The ablations: every row is a recipe, what is finished is kept, and the table compares with the preset."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path

import pytest

from benchmarks.ablations import CHANGES, REFERENCE, RESULTS, main, with_saved
from t2vu_core.recipes import VelocityRecipe
from tests.core.tiny_models import TINY_MODELS

SMALL = ["steps=1", "concept_trajectories=1", "preserve_trajectories=1", "trajectory_steps=2", "rank=4", "eta=3"]


def run(out: Path, *rows: str) -> int:
    options = [part for option in SMALL for part in ("--method-option", option)]
    model = str(TINY_MODELS["cogvideox-2b"].folder)
    return main(["--model", model, "--out", str(out), "--clips", "1", "--rows", *rows, *options])


def test_the_page_of_settings_names_only_rows_that_have_results() -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings" / "velocity.md").read_text(encoding="utf-8")
    sentences = re.findall(r"[Rr]ows? ((?:`[^`]+`(?:, )?)+)", page)
    named = {name for sentence in sentences for name in re.findall(r"`([^`]+)`", sentence)}
    boards = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("ablations*.json")]
    measured = {row["method"] for board in boards for row in board["rows"]}
    assert len(named) > 10
    assert {name for name in named if not fnmatch.filter(measured, name.replace("…", "*"))} == set()


def test_every_row_is_a_recipe_that_changes_something() -> None:
    recipes = {name: VelocityRecipe.preset("balanced", **change.settings) for name, change in CHANGES.items()}
    assert recipes[REFERENCE] == VelocityRecipe()
    assert len({change.title for change in CHANGES.values()}) == len(CHANGES)
    default = [name for name in CHANGES if recipes[name] == recipes[REFERENCE] and name != REFERENCE]
    own = VelocityRecipe()
    assert set(default) == {own.kind, f"eta_{own.eta:g}", f"rank_{own.rank}", f"mixed_share_{100 * own.mixed_share:g}"} & set(
        CHANGES
    )


@pytest.mark.slow
def test_a_second_call_adds_rows_and_repeats_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Slow because two trainings are judged by the real detector."""
    assert run(tmp_path, REFERENCE) == 0
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()}
    assert len(files) == 1
    # Rank 4 is what these options set already: its row is the reference's, and only the other one is trained.
    assert run(tmp_path, REFERENCE, "rank_4", "no_preservation") == 0
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()}
    assert files.items() <= after.items()
    assert len(after) == 2
    board = json.loads((tmp_path / "ablations.json").read_text())
    assert [row["method"] for row in board["rows"]] == [REFERENCE, "no_preservation", "rank_4"]
    table = (tmp_path / "ablations.md").read_text()
    assert table.strip() in capsys.readouterr().out
    assert "| without preservation |" in table
    assert "a significant difference from the preset" in table


def test_an_unknown_row_is_refused_before_anything_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "everything") == 2
    assert "no row 'everything'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_stronger_attack_needs_an_attack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--strong"]) == 2
    assert "add --probe" in capsys.readouterr().err


def test_saving_a_few_rows_keeps_those_that_were_saved_before(tmp_path: Path) -> None:
    def board(*names: str, **facts: str) -> dict:
        rows = [{"method": name, "concept": "santa", "training_seed": 0, "kept": facts.get("kept")} for name in names]
        return {"model": "miniature", "meter": facts.get("meter", "quick"), "rows": rows}

    saved = tmp_path / "ablations.json"
    assert with_saved(board("lora"), saved) == board("lora"), "nothing is saved yet"
    saved.write_text(json.dumps(board("bottleneck", REFERENCE)))
    both = with_saved(board("eta_1", REFERENCE, kept="new"), saved)
    assert [row["method"] for row in both["rows"]] == [REFERENCE, "eta_1", "bottleneck"]
    assert [row["kept"] for row in both["rows"]] == ["new", "new", None]
    assert with_saved(board("eta_1", meter="full"), saved) == board("eta_1", meter="full"), "rows of another meter do not mix"
