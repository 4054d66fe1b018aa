"""The documents' tables: made from the files of results, between their markers, and nowhere else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import documents
from t2vu_core.miniature.bundled import LTX_NAME, WEIGHTS

RESULTS = documents.ROOT / "benchmarks" / "results"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the documents and of what they are made from."""
    shutil.copytree(RESULTS, tmp_path / "benchmarks" / "results")
    for path in (documents.README, documents.MEASURED):
        shutil.copyfile(documents.ROOT / path, tmp_path / path)
    return tmp_path


def test_the_documents_say_what_the_results_say() -> None:
    assert documents.main(["--check"]) == 0


def test_every_file_of_results_stands_in_a_document() -> None:
    shown = {table.results for table in documents.TABLES}
    assert {path.name for path in RESULTS.glob("*.json")} <= shown


def test_another_result_changes_its_table_and_nothing_else(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / "benchmarks" / "results" / "scoreboard.json"
    board = json.loads(path.read_text(encoding="utf-8"))
    board["rows"] = [row for row in board["rows"] if row["method"] in ("base", "velocity", "encoder")]
    board["training"]["cut_to_steps"] = 3
    path.write_text(json.dumps(board), encoding="utf-8")
    assert documents.main(["--root", str(root), "--check"]) == 1
    assert "README.md does not match the results" in capsys.readouterr().err
    before = (root / "README.md").read_text(encoding="utf-8")
    assert documents.main(["--root", str(root)]) == 0
    after = (root / "README.md").read_text(encoding="utf-8")
    assert before != after
    measured = (root / documents.MEASURED).read_text(encoding="utf-8")
    assert "A trial: every training run was cut to 3 steps." in measured
    begin, end = "<!-- scoreboard: begin -->", "<!-- scoreboard: end -->"
    outside = [text.partition(begin)[0] + text.partition(end)[2] for text in (before, after)]
    assert outside[0] == outside[1]
    assert documents.main(["--root", str(root), "--check"]) == 0


def test_the_figures_of_a_model_are_those_of_its_card() -> None:
    measured = (documents.ROOT / documents.MEASURED).read_text(encoding="utf-8")
    card = (WEIGHTS / LTX_NAME / "README.md").read_text(encoding="utf-8")
    shown = measured.partition("<!-- figures of miniature-ltx: begin -->\n")[2].partition("\n<!-- figures")[0]
    assert "| two_subject |" in shown
    assert "falls short in: subject 85.9%" in shown
    assert all(line in card.splitlines() for line in shown.splitlines())


def test_the_guide_has_the_figures_of_the_native_graph() -> None:
    rows = json.loads((RESULTS / "native_graph-miniature-ltx.json").read_text(encoding="utf-8"))["rows"]
    guide = " ".join((documents.ROOT / "docs" / "guides" / "comfyui.md").read_text(encoding="utf-8").split())

    def of(name: str) -> str:
        counts = [row[name] for row in rows]
        low, high = min(counts), max(counts)
        return f"{low if low == high else f'{low} to {high}'} of {rows[0]['clips']}"

    ghost = f"the ghost was shown in {of('concept_before')} clips before and in {of('concept_after')} after"
    assert f"{ghost}; other subjects in {of('other_before')} before and in {of('other_after')} after" in guide
    assert {row["preset"] for row in rows} == {"balanced"}


def test_what_was_not_measured_says_so(root: Path) -> None:
    (root / "benchmarks" / "results" / "scoreboard.json").unlink()
    assert documents.main(["--root", str(root)]) == 0
    text = (root / "README.md").read_text(encoding="utf-8")
    assert f"<!-- scoreboard: begin -->\n{documents.NOT_MEASURED}\n<!-- scoreboard: end -->" in text


def test_a_document_without_a_place_for_its_table_is_left_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "README.md").write_text("no markers", encoding="utf-8")
    assert documents.main(["--root", str(root)]) == 2
    assert "no place for a table" in capsys.readouterr().err
    assert (root / "README.md").read_text(encoding="utf-8") == "no markers"
