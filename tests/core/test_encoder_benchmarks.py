"""The benchmarks of few-shot unlearning: curves over steps, the spread over seeds, and nothing trained or judged twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import encoder_objectives, encoder_rows, encoder_spread
from benchmarks.encoder_table import curve, document, picture, reached
from t2vu_core.evaluation import EvaluationSettings, WorldDetector
from t2vu_core.recipes import FewShotRecipe
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
TITLES = {"ascent": "ascent", "anchor": "anchor"}
SMALL = [
    "shots=1", "shot_steps=2", "prompts=2", "preserve_prompts=2", "batch=1", "preserve_batch=1", "trained=mlp",
]  # fmt: skip


def row(name: str, step: int, shown: int, **changes: Any) -> dict[str, Any]:
    """A row of 20 clips, `shown` of which show the concept."""
    numbers = {"erased_terse": shown / 20, "erased_refined": shown / 20, "kept": 0.9, "attributes": 0.8, "probe": None}
    outcomes = {"shown": [True] * shown + [False] * (20 - shown), "kept_shown": [], "train_seconds": 2.0, "clip_seconds": 0.1}
    return {"method": name, "concept": "ghost", "seed": 0, "step": step, "diverged": None, **numbers, **outcomes, **changes}


def diverged(name: str, step: int, concept: str = "ghost") -> dict[str, Any]:
    return {"method": name, "concept": concept, "seed": 0, "step": step, "diverged": "The loss became inf at step 3."}


def board(rows: list[dict[str, Any]]) -> dict[str, Any]:
    facts = {"model": "m", "base_hash": "0" * 64, "through": "m", "clips_a_register": 5, "kept_clips": 5}
    return {**facts, "preset": "quick", "target": 0.1, "rows": rows}


def test_the_objectives_are_compared_where_they_have_erased_equally_much(tmp_path: Path) -> None:
    rows = [row("ascent", 0, 20, kept=1.0), row("ascent", 5, 2, kept=0.4), row("ascent", 10, 0, kept=0.1)]
    rows += [
        row("anchor", 0, 20, kept=1.0),
        row("anchor", 5, 12),
        row("anchor", 10, 1, kept=0.95),
        row("anchor", 20, 0, kept=0.7),
    ]
    point = reached(curve(rows, "anchor"), 0.1)
    assert point is not None
    assert (point["step"], point["share"], point["train_seconds"]) == (10, 0.05, 6.0)
    text = document(board(rows), TITLES)
    assert "At 10 % still shown or less, anchor keeps most: 95 % of base." in text
    assert "| ascent | 5 | 10 % (3 to 30) |" in text
    assert picture(rows, tmp_path / "curves.png", TITLES).stat().st_size > 5000


def test_an_objective_that_never_erases_is_in_brackets_and_keeps_no_prize() -> None:
    text = document(board([row("ascent", 0, 20, kept=1.0), row("ascent", 5, 9, kept=1.0), row("ascent", 10, 15)]), TITLES)
    assert "| ascent | (5) | (45 % (26 to 66)) |" in text
    assert "No objective leaves 10 % or less." in text


def test_a_step_that_one_concept_lacks_is_no_point_and_a_divergence_is_named() -> None:
    rows = [row("ascent", 5, 4), row("ascent", 5, 8, concept="cat"), row("ascent", 10, 0), diverged("ascent", 10, "cat")]
    points = curve(rows, "ascent")
    assert [(point["step"], point["share"], len(point["shown"])) for point in points] == [(5, 0.3, 40)]
    assert "ascent, cat: The loss became inf at step 3." in document(board(rows), TITLES)


def test_the_spread_says_its_ends_and_what_diverged() -> None:
    rows = [row("", 0, shown, kept=kept) for shown, kept in ((0, 1.0), (2, 0.8), (4, 0.9))]
    found = encoder_spread.spread([*rows, diverged("", 0)])
    assert found["shown"] == pytest.approx({"mean": 0.1, "low": 0.0, "high": 0.2, "deviation": 0.1})
    assert (found["trainings"], found["diverged"]) == (4, 1)
    line = encoder_spread.spoken({"model": "m", "rows": rows, "spread": encoder_spread.spread(rows)})
    assert "still shown 10 % (0 % to 20 %, 10.0 points of standard deviation)" in line
    assert line.endswith("none diverged.")


@pytest.fixture
def bench(tmp_path: Path) -> encoder_rows.Bench:
    settings = EvaluationSettings.of("quick", per_register=1, kept=1)
    return encoder_rows.Bench(TINY.model, None, WorldDetector.bundled(), settings, tmp_path)


def recipe(**changes: Any) -> FewShotRecipe:
    few = dict(part.split("=") for part in SMALL)
    settings = {name: value if name == "trained" else int(value) for name, value in few.items()}
    return FewShotRecipe.preset("quick", **{**settings, "steps": 4, "stop_at": encoder_rows.NEVER, **changes})


def test_a_curve_is_one_training_that_goes_on_and_an_earlier_step_is_trained_anew(bench: encoder_rows.Bench) -> None:
    first, third, again = (bench.encoder_at("ghost", recipe(), step) for step in (1, 3, 1))
    assert [erasure.training["steps"] for erasure in (first, third, again)] == [1, 3, 1]
    assert third.training["losses"][:1] == first.training["losses"]
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in first.tensors.items())


def test_a_training_that_diverges_is_a_row_that_says_so(bench: encoder_rows.Bench) -> None:
    def infinite(module: Any, args: Any, output: Any) -> Any:
        return tuple(part * float("inf") for part in output)

    handle = TINY.model.family.pipeline.transformer.register_forward_hook(infinite)
    try:
        made = bench.row("ghost", recipe(), 2)
    finally:
        handle.remove()
    assert "at step 0" in made["diverged"]
    assert bench.row("ghost", recipe(), 2) == made, "a finished row is read, not made again"


def test_every_row_is_a_recipe_and_no_two_are_the_same() -> None:
    recipes = [FewShotRecipe.preset("balanced", **changes) for _, changes in encoder_objectives.ROWS.values()]
    assert len({json.dumps(each.describe()) for each in recipes}) == len(recipes)
    assert {each.objective for each in recipes} == {"ascent", "ascent_trust_region", "anchor", "negative_guidance"}


@pytest.mark.parametrize(
    ("module", "arguments", "hint"),
    [
        (encoder_objectives, ["--rows", "descent"], "no row 'descent'"),
        (encoder_objectives, ["--stops", "0"], "cannot stop after 0 steps"),
        (encoder_spread, ["--seeds", "0"], "nothing to train with 0 seeds"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_trained(
    module: Any, arguments: list[str], hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert module.main([*arguments, "--model", str(TINY.folder), "--out", str(tmp_path / "out")]) == 2
    assert hint in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_commands_write_table_picture_and_line_and_repeat_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slow because four encoders are judged by the real detector."""
    options = [part for option in SMALL for part in ("--method-option", option)]
    common = ["--model", str(TINY.folder), "--out", str(tmp_path), "--clips", "1", *options]
    curves = ["--rows", "ascent", "anchor", "--stops", "1", *common]
    assert encoder_objectives.main(curves) == 0
    said = capsys.readouterr().out
    assert (tmp_path / "objectives.md").read_text().strip() == said.strip()
    assert {path.name for path in tmp_path.glob("objectives.*")} == {f"objectives.{end}" for end in ("json", "md", "png")}
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()}
    assert len(made) == 3, "the model as it is, and an encoder of each objective"
    assert encoder_objectives.main(curves) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()} == made
    assert encoder_spread.main(["--seeds", "2", "--method-option", "steps=1", *common]) == 0
    assert "2 trainings on" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "spread.json").read_text())["rows"]) == 2
