"""The benchmark of native erasing against the folder: which rows count, and what the table says of several seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import native_against_folder as benchmark
from benchmarks import native_graph

ROW: dict[str, Any] = {
    "model": "miniature-ltx", "concept": "ghost", "preset": "quick", "meter": "quick", "steps": 0, "prompts": 0, "base": "one",
    "version": "0.2.0", "recipe": {"eta": 1.0},
}  # fmt: skip


def made(precision: str, seed: int, kept: float, **changes: Any) -> dict[str, Any]:
    found = {"shown_before": 0.9, "still_shown": 0.0, "kept_before": 0.95, "kept": kept, "training_seconds": 50}
    row = {**ROW, "kind": "lora", "precision": precision, "seed": seed}
    return {**row, **found, "clips": 124, "seconds": 120, **changes}


def cells(seeds: int = 2) -> list[dict[str, Any]]:
    options = benchmark._parser().parse_args(["--seeds", str(seeds), "--kinds", "lora", "--precisions", "fp8"])
    return list(benchmark.cells(options, ROW))


def test_both_kinds_are_trained_with_three_seeds_in_every_precision() -> None:
    options = benchmark._parser().parse_args([])
    wanted = list(benchmark.cells(options, ROW))
    assert len(wanted) == 3 * 2 * 5
    assert wanted[0]["precision"] == benchmark.FOLDER


@pytest.mark.parametrize("other", [{"base": "another"}, {"version": "0.1.0"}, {"steps": 2}, {"recipe": {"eta": 7.0}}])
def test_a_row_of_other_weights_or_another_version_is_made_again(other: dict[str, Any]) -> None:
    rows = [made("folder", 0, 0.9), made("fp8", 0, 0.9, **other), made("folder", 1, 0.9), made("fp8", 1, 0.9)]
    assert [cell["seed"] for cell in benchmark.missing(cells(), rows)] == [0]
    assert benchmark.estimate(cells(), rows) == "1 rows are missing: about 2 minutes."


def test_the_table_compares_the_means_of_the_same_seeds() -> None:
    rows = [made("folder", 0, 0.90), made("folder", 1, 0.92), made("fp8", 0, 0.89), made("fp8", 1, 0.90)]
    board = {"rows": rows}
    assert "| lora | ComfyUI, fp8 | 2 | 0.0% of 90.0% | 89.5% of 95.0% | +0.0 and -1.5 | 50 s |" in benchmark.table(board)
    assert "within 2 points of the folder's in 1 of 1 rows" in benchmark.document(board)
    assert "preset quick (eta 1.0), meter quick" in benchmark.document(board)
    far = {"rows": [*rows[:2], made("fp8", 0, 0.80), made("fp8", 1, 0.90)]}
    assert "in 0 of 1 rows" in benchmark.document(far)


def test_without_the_folders_seed_nothing_is_compared() -> None:
    assert "| 1 | 0.0% of 90.0% | 90.0% of 95.0% |  | 50 s |" in benchmark.table({"rows": [made("fp8", 1, 0.9)]})


def test_a_row_of_an_older_preset_says_so_and_what_was_not_measured_is_named() -> None:
    old = {name: value for name, value in made("folder", 0, 0.9).items() if name not in ("recipe", "version")}
    said = benchmark.document({"rows": [{**old, "kind": "bottleneck"}, {**old, "kind": "bottleneck", "precision": "fp32"}]})
    assert "preset quick as it was at the time (100 steps, 16 + 24 trajectories, bottleneck), meter quick" in said
    assert "Not measured: bottleneck in bf16, fp8, fp8_scaled; lora." in said
    new = [{**made(place, 0, 0.9), "kind": kind} for kind in benchmark.KINDS for place in ("folder", *benchmark.PRECISIONS)]
    said = benchmark.document({"rows": new})
    assert "at the time" not in said
    assert "Not measured" not in said


def test_the_document_of_the_graph_says_the_same() -> None:
    counts = dict.fromkeys(("concept_before", "concept_after", "other_before", "other_after"), 12)
    row = {"model": "miniature", "preset": "quick", "kind": "bottleneck", "comfyui": "0.33.0", "clips": 12, **counts}
    said = native_graph.document({"rows": [{**row, "precision": place} for place in ("fp32", "fp8")]})
    assert "preset quick as it was at the time (100 steps" in said
    assert "Not measured: bottleneck in bf16, fp8_scaled; lora." in said
    assert "at the time" not in native_graph.document({"rows": [{**row, "precision": "fp32", "version": "0.2.0"}]})


def test_saving_keeps_the_saved_rows_of_other_kinds_with_the_same_settings() -> None:
    """A call with --kinds lora does not lose the bottlenecks."""
    other = {**made("folder", 0, 0.7), "kind": "bottleneck"}
    older = {**made("folder", 0, 0.7, version="0.1.0"), "kind": "bottleneck"}
    again = made("folder", 0, 0.9)
    assert benchmark.with_saved([again], [other, older, made("folder", 0, 0.5)], ROW) == [other, again]


def test_a_call_with_save_writes_both_its_own_rows_and_the_saved_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(benchmark, "asked_of", lambda _: ROW)
    monkeypatch.setattr(benchmark, "_row", lambda cell, _: made(cell["precision"], cell["seed"], 0.9, kind=cell["kind"]))
    benchmark.RESULTS.mkdir()
    for number, kind in enumerate(benchmark.KINDS):
        call = ["--kinds", kind, "--precisions", "fp32", "--seeds", "1", "--out", str(tmp_path / str(number)), "--save"]
        assert benchmark.main(call) == 0
    saved = json.loads((benchmark.RESULTS / "native_against_folder-miniature-ltx.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["kind"], row["precision"]) for row in saved] == [
        (kind, place) for kind in benchmark.KINDS for place in ("folder", "fp32")
    ]
