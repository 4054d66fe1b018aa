"""The board's plan: which rows are attacked at strength, what their figures mean, and what is left out."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import board_plan, regrowth_controls, scoreboard, scoreboard_attacks, scoreboard_row
from benchmarks.board_plan import ATTACKED, Cell, attacks_on, is_regrown, is_strong, settings_for
from benchmarks.memory_peak import PROCESS, peak_memory
from benchmarks.methods import METHODS
from benchmarks.scoreboard_numbers import _probe
from benchmarks.scoreboard_table import document
from benchmarks.scoreboard_time import RowTimes
from t2vu_core.errors import UserError
from t2vu_core.evaluation import EvaluationSettings, WorldDetector
from t2vu_core.evaluation.attacks import ATTACKS, run
from t2vu_core.evaluation.cases import DEVELOPMENT_CONCEPTS
from t2vu_core.miniature.bundled import bundled_folder
from t2vu_core.miniature.worlds import WORLD_32
from t2vu_core.prompts.concept import understand
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.scores import AttackPart
from tests.core.example_scores import attack
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
QUICK = EvaluationSettings.of("quick")
STRONG: Cell = ("velocity", "ghost", 0)


def test_the_plan_names_rows_that_the_board_has() -> None:
    assert set(board_plan.STRONG) | set(board_plan.REGROWTH) | set(board_plan.TRAININGS) <= set(METHODS)
    assert set(board_plan.FURTHER_RUNS) | set(board_plan.ATTACKED_ON) <= set(METHODS)
    planned = board_plan.planned_cells(METHODS)
    assert ("velocity", "cat", 2) in planned
    assert ("encoder", "pizza", 2) in planned
    assert ("velocity", "pizza", 1) not in planned
    concepts = {*board_plan.SIX_CONCEPTS, *board_plan.NEVER_KNEW_CONCEPTS}
    assert concepts <= set(board_plan.TEST_CONCEPTS)
    assert not concepts & set(DEVELOPMENT_CONCEPTS)
    assert len(board_plan.STRONG_CONCEPTS) == 4
    assert len(board_plan.NEVER_KNEW_CONCEPTS) == 2


def test_the_neighbours_of_a_board_row_are_what_its_page_says() -> None:
    prompts = prompt_set_for(bundled_folder("miniature"))
    for concept in board_plan.TEST_CONCEPTS:
        (understood,) = understand(ConceptRequest((concept,)), prompts)
        if concept in WORLD_32.subjects:
            assert set(understood.neighbours) == set(WORLD_32.subjects) - {concept}
        else:
            assert {*understood.neighbours, concept} >= {name for name in board_plan.TEST_CONCEPTS if " style" in name}
            assert not set(understood.neighbours) & set(WORLD_32.subjects)


def test_one_training_run_of_the_best_methods_meets_every_attack() -> None:
    assert set(attacks_on(STRONG)) | {"regrowth"} == set(ATTACKS)
    assert is_regrown(STRONG)
    assert attacks_on(("velocity", "pizza", 0)) == attacks_on(("leco", "ghost", 0)) == ATTACKED
    assert attacks_on(("velocity", "ghost", 1)) == attacks_on(("paper", "pizza", 0)) == ()
    assert attacks_on(("paper", "in noir style", 0)) == attacks_on(("closed_form", "ghost", 0)) == ATTACKED
    assert attacks_on(("base", "ghost", 0)) == attacks_on(("safree", "ghost", 0)) == attacks_on(("leco", "octopus", 0)) == ()
    assert is_regrown(("closed_form", "ghost", 0))
    assert not is_regrown(("velocity", "pizza", 0))
    assert is_strong(("never_knew", "in noir style", 0))
    assert not is_strong(("velocity", "pizza", 0))
    strong = settings_for(STRONG, QUICK)
    assert (strong.probe_steps, strong.probe_starts, strong.attack_steps) == (600, 3, 150)
    assert settings_for(("velocity", "pizza", 0), QUICK) == QUICK
    assert settings_for(STRONG, dataclasses.replace(QUICK, attack_steps=15)).probe_steps == 60


@pytest.mark.parametrize(("cell", "attacks"), [(STRONG, 8), (("velocity", "ghost", 1), 0), (("esd", "ghost", 0), 2)])
def test_a_row_gets_the_attacks_of_the_plan(cell: Cell, attacks: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def evaluate(model: object, concept: str, **options: Any) -> None:
        asked.update(options)
        raise UserError("enough")

    monkeypatch.setattr(scoreboard_row, "evaluate", evaluate)
    detector = WorldDetector.for_model(TINY.model)
    with pytest.raises(UserError, match="enough"):
        scoreboard_row.measure(METHODS["base"], TINY.model, detector, cell, QUICK, probe=True, out=tmp_path, prompts=None)
    assert asked["attacks"] == attacks_on(cell)
    assert len(asked["attacks"]) == attacks
    assert asked["settings"].probe_starts == (3 if is_strong(cell) else 1)


def test_the_cheap_figure_of_probe_is_a_point_on_the_way_of_the_strong_one() -> None:
    cheap = attack([True] * 2 + [False] * 30)
    assert _probe(cheap, 150) == (cheap, None)
    curve = {"erased word, 150 steps": 4, "erased word, 600 steps": 5, "random, 150 steps": 9, "random, 600 steps": 16}
    parts = {title: AttackPart(shown=shown, clips=32, control=32) for title, shown in curve.items()}
    strong = dataclasses.replace(attack([True] * 16 + [False] * 16), parts=parts)
    found, best = _probe(strong, 150)
    assert found is not None
    assert (found.after, found.clips) == (4 / 32, 32)
    assert best is strong
    assert _probe(None, 150) == (None, None)


def test_the_base_is_fine_tuned_once_and_its_figure_travels_with_the_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoreboard_row, "REGROWTH_STEPS", 1)
    out, detector = tmp_path / "out", WorldDetector.for_model(TINY.model)
    few = dataclasses.replace(QUICK, per_register=1, kept=1, num_inference_steps=1, attack_clips=2)
    erased = TINY.model.with_erasure(TINY.random_erasure("bottleneck"))
    found = scoreboard_row._regrown(erased, TINY.model, detector, STRONG, few, None, out)

    def again(model: object, target: object) -> None:
        raise AssertionError("the base is fine-tuned again")

    monkeypatch.setitem(run._RUNS, "regrowth", again)
    control = partial(scoreboard_row.regrowth_control, TINY.model, detector, STRONG, few, out, None)
    regrowth_controls.keep(out, "a key", control)
    board = {"rows": [{"key": "a key"}, {"key": "of a row without"}, {}]}
    saved = regrowth_controls.collect(out, board["rows"])
    assert found is not None
    assert saved == {regrowth_controls.FIELD: {"a key": found.control}}
    regrowth_controls.restore({**board, **saved}, tmp_path / "elsewhere")
    assert regrowth_controls.collect(tmp_path / "elsewhere", board["rows"]) == saved
    assert scoreboard_row.regrowth_control(TINY.model, detector, ("leco", "ghost", 0), few, out, None) is None, (
        "no row of the plan"
    )
    assert regrowth_controls.collect(out, [{}]) == {}


def test_the_estimate_counts_what_the_plan_adds() -> None:
    times = RowTimes(TINY.model, QUICK, probe=True)
    plain, strong = (times.without_training(cell) for cell in (("leco", "ghost", 0), STRONG))
    # 1,800 steps of PROBE and 500 of fine-tuning against 150 steps.
    assert strong > 5 * plain
    assert times.attacks(("safree", "ghost", 0)) == 0
    runs = [{"method": "leco", "train_seconds": seconds} for seconds in (10.0, 40.0)]
    cell = [("leco", "ghost", 0)]
    assert times.seconds(cell, runs) - times.seconds(cell, []) == pytest.approx(25), "the mean of the runs that are there"


def test_the_table_of_attacks_says_what_was_tried_and_the_board_what_was_left_out() -> None:
    saved = json.loads((scoreboard.RESULTS / "scoreboard-0.1.json").read_text())
    row = next(row for row in saved["rows"] if row["method"] == "velocity")
    row |= {
        "probe": 0.125,
        "probe_strong": 0.5,
        "other_size": 0.0,
        "regrowth": 0.25,
        "controls": {"probe": 1.0, "other_size": 0.0},
    }
    row["attack_parts"] = {"probe": {"erased word, 150 steps": [4, 32, 32], "random, 600 steps": [16, 32, 32]}}
    row["key"] = "a key"
    without = scoreboard_attacks.document({**saved, "rows": [row]})
    assert without.count("| 25 % |") == 1
    text = scoreboard_attacks.document({**saved, "rows": [row], regrowth_controls.FIELD: {"a key": 0.875}})
    assert "| 25 % (88 %) |" in text
    assert "| 50 % (100 %) | 12 % | - |" in text
    assert "| void (0 %) |" in text, "no clip of the base shows it in another size either"
    assert "erased word, 150 steps: 4 of 32; random, 600 steps: 16 of 32" in text
    row["attack_parts"]["probe"]["random, 300 steps"] = [24, 32, 32]
    assert "| 75 % (100 %) |" in scoreboard_attacks.document({**saved, "rows": [row]}), "the best recorded stop counts"
    assert scoreboard_attacks.document({**saved, "rows": []}) == scoreboard_attacks.NOT_MEASURED
    assert "PROBE with 600 steps from 3 starts" in document({**saved, "rows": [row]})


@pytest.mark.skipif(not (PROCESS / "clear_refs").exists(), reason="the system does not tell a process's peak memory")
def test_the_peak_of_memory_is_that_of_the_work_and_not_of_work_before_it() -> None:
    torch.ones(64 * 2**20 // 4).sum()
    with peak_memory(torch.device("cpu")) as nothing:
        pass
    with peak_memory(torch.device("cpu")) as peak:
        torch.ones(48 * 2**20 // 4).sum()
    assert nothing.mib is not None
    assert peak.mib is not None
    assert nothing.mib < 16
    assert 40 < peak.mib < 80


def test_rows_without_rounds_of_learned_tokens_stay_valid_and_those_with_them_name_them() -> None:
    assert "probe_rounds" not in METHODS["velocity"].settings
    assert METHODS["velocity_thorough"].settings["probe_rounds"] == VelocityRecipe.preset("thorough").probe_rounds
    assert {"probe_steps", "steps"} <= set(METHODS["velocity_thorough"].settings)
