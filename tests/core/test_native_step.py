"""The benchmark of a step on ComfyUI's own models: its rows, and what it keeps of them when one fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fresh_processes import Failed
from benchmarks.native_step import DEFAULT_ROWS, Row, main, parser, run, table

GIB = 2**30
FIGURES: dict[str, Any] = {
    "device": "a card", "clip": [17, 480, 832], "dtype": "bfloat16", "seconds_per_step": 0.5, "peak_bytes": 4 * GIB,
    "weight_bytes": 3 * GIB, "denoiser_bytes": 2 * GIB, "on_gpu_bytes": GIB, "finite": True, "difference": 0.25,
}  # fmt: skip


def measured(row: Row) -> dict[str, Any]:
    shape, precision, card = row.parts
    if shape == "wan-14b":
        raise Failed("Out of memory.")
    return {**FIGURES, "precision": precision, "card_gib": card}


def test_a_failed_row_leaves_the_others_and_the_file_has_them_after_every_row(tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    options = parser().parse_args(["--out", str(out), "--rows", "wan-1.3b:bf16:6", "wan-14b:fp8", "wan-1.3b:fp8"])
    written: list[list[str]] = []

    def measure_and_look(row: Row) -> dict[str, Any]:
        written.append(list(json.loads(out.read_text(encoding="utf-8"))["rows"]) if out.is_file() else [])
        return measured(row)

    result = run(options, measure_and_look, lambda: len(written) == 3)
    assert written == [[], ["wan-1.3b:bf16:6"], ["wan-1.3b:bf16:6"]]
    assert json.loads(out.read_text(encoding="utf-8")) == result
    assert "| wan-1.3b:bf16:6 | bfloat16 | 6 | 0.500 | 4.00 | 2.00 | 1.00 | finite, 25.00% off |" in table(result)
    assert "Failed: wan-14b:fp8: Out of memory." in table(result)


def test_what_the_budget_leaves_out_is_named() -> None:
    options = parser().parse_args(["--rows", "wan-1.3b:bf16", "wan-1.3b:fp8"])
    result = run(options, measured, iter([False, True]).__next__)
    assert list(result["rows"]) == ["wan-1.3b:bf16"]
    assert "Left out, the budget was spent: wan-1.3b:fp8." in table(result)


def test_a_row_names_shape_precision_and_card(tmp_path: Path) -> None:
    rows = {name: Row(name, 4, 1, 5, str(tmp_path)) for name in (*DEFAULT_ROWS, "diffusers:wan-1.3b:fp8")}
    assert rows["wan-1.3b:bf16:6"].parts == ("wan-1.3b", "bf16", 6.0)
    assert rows["diffusers:wan-1.3b"].parts == ("wan-1.3b", "bf16", None)
    assert rows["diffusers:wan-1.3b:fp8"].job.fp8
    assert parser().parse_args(["--rows", *rows]).rows == list(rows)


@pytest.mark.parametrize("wrong", ["wan-1.3b", "wan-1.3b:int8", "other:bf16", "wan-1.3b:bf16:big", "diffusers:wan-1.3b:int8"])
def test_a_row_that_is_none_is_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--rows", wrong])
    assert "is no row" in capsys.readouterr().err
