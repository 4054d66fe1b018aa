"""Settings are chosen on other concepts, prompts and seeds than those that measure them."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import ablations, encoder_objectives, scoreboard, tuning
from benchmarks.development import TUNING
from t2vu_core.evaluation.build_prompt_sets import CONCEPTS, write_development_sets
from t2vu_core.evaluation.cases import (
    DEVELOPMENT_CONCEPTS,
    DEVELOPMENT_SEEDS,
    ERASED_REGISTERS,
    FOLDER,
    KEPT,
    MEASURING_SEEDS,
    built_in,
    development_set,
)
from tests.core.tiny_models import TINY_MODELS

BENCHMARKS = Path(scoreboard.__file__).parent
MODEL = str(TINY_MODELS["cogvideox-2b"].folder)


def test_the_development_sets_that_ship_are_those_that_are_built(tmp_path: Path) -> None:
    write_development_sets(tmp_path)
    shipped = FOLDER / "development"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in shipped.iterdir()
    }


@pytest.mark.parametrize("concept", DEVELOPMENT_CONCEPTS)
def test_no_prompt_or_seed_of_development_measures(concept: str) -> None:
    own = development_set(concept)
    assert own is not None
    assert {case.register for case in own.cases} == {*ERASED_REGISTERS, KEPT}
    measuring = [case for name in CONCEPTS if (prompts := built_in(name)) for case in prompts.cases]
    assert not {case.prompt for case in own.cases} & {case.prompt for case in measuring}
    rounds = own.first(100, 1000, rounds=2).cases
    assert all(case.seed in DEVELOPMENT_SEEDS for case in rounds)
    assert not set(DEVELOPMENT_SEEDS) & set(MEASURING_SEEDS)
    # Training with seed s draws from 1_000_000 (s + 1) upwards and stays in the lower half of the million.
    assert DEVELOPMENT_SEEDS.start % 1_000_000 == 500_000


@pytest.mark.parametrize("script", [ablations, encoder_objectives, tuning])
def test_a_script_that_chooses_settings_refuses_what_the_scoreboard_measures(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = script.main(["--model", MODEL, "--concepts", "ghost", "--out", str(tmp_path / "out")])
    assert code == 2
    assert "choose from car, panda, pop, santa" in capsys.readouterr().err


def test_the_scoreboard_refuses_what_settings_were_chosen_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scoreboard.main(["--model", MODEL, "--concepts", "santa", "--out", str(tmp_path)]) == 2
    assert "Settings were chosen on 'santa'" in capsys.readouterr().err


@pytest.mark.parametrize("name", TUNING)
def test_a_script_that_chooses_settings_reads_no_prompts_that_measure(name: str) -> None:
    tree = ast.parse((BENCHMARKS / f"{name}.py").read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert "development_prompts" in names
    assert not names & {"built_in", "PROMPT_SETS", "load_prompt_set", "evaluate"}
