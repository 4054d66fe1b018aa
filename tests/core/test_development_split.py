"""Settings are chosen on other concepts, prompts and seeds than those that measure them."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import ablations, encoder_objectives, scoreboard, tuning
from benchmarks.development import TUNING, development_prompts
from t2vu_core.errors import UserError
from t2vu_core.evaluation.build_prompt_sets import concepts_of, write_development_sets
from t2vu_core.evaluation.cases import (
    DEVELOPMENT_SEEDS,
    ERASED_REGISTERS,
    KEPT,
    MEASURING_SEEDS,
    NEW_DEVELOPMENT_CONCEPTS,
    PROMPT_SETS,
    built_in,
    development_concepts,
    development_set,
)
from t2vu_core.evaluation.detectors import WorldDetector
from t2vu_core.miniature.worlds import WORLD_32, WORLD_64, WORLDS, World
from tests.core.tiny_models import TINY_MODELS

BENCHMARKS = Path(scoreboard.__file__).parent
MODEL = str(TINY_MODELS["cogvideox-2b"].folder)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.prompt_sets)
def test_the_development_sets_that_ship_are_those_that_are_built(world: World, tmp_path: Path) -> None:
    write_development_sets(world, tmp_path)
    shipped = PROMPT_SETS / world.prompt_sets / "development"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in shipped.iterdir()
    }


@pytest.mark.parametrize(
    ("world", "concept"),
    [(world, concept) for world in WORLDS for concept in development_concepts(world.prompt_sets)],
    ids=lambda value: value if isinstance(value, str) else value.prompt_sets,
)
def test_no_prompt_or_seed_of_development_measures(world: World, concept: str) -> None:
    own = development_set(concept, world.prompt_sets)
    assert own is not None
    assert {case.register for case in own.cases} == {*ERASED_REGISTERS, KEPT}
    measuring = [
        case for name in concepts_of(world) if (prompts := built_in(name, world.prompt_sets)) for case in prompts.cases
    ]
    assert not {case.prompt for case in own.cases} & {case.prompt for case in measuring}
    rounds = own.first(100, 1000, rounds=2).cases
    assert all(case.seed in DEVELOPMENT_SEEDS for case in rounds)
    assert not set(DEVELOPMENT_SEEDS) & set(MEASURING_SEEDS)
    # Training with seed s draws from 1_000_000 (s + 1) upwards and stays in the lower half of the million.
    assert DEVELOPMENT_SEEDS.start % 1_000_000 == 500_000


def test_half_of_the_subjects_that_only_the_larger_world_has_are_for_development() -> None:
    new = set(WORLD_64.subjects) - set(WORLD_32.subjects)
    assert set(NEW_DEVELOPMENT_CONCEPTS) <= new
    assert 2 * len(NEW_DEVELOPMENT_CONCEPTS) == len(new)
    judge = WorldDetector.bundled(WORLD_64)
    assert development_prompts(judge, "kite").name == "v2/development/kite"
    assert development_prompts(judge, "santa").name == "v2/development/santa"
    with pytest.raises(UserError, match="'unicorn' is measured by the scoreboard"):
        development_prompts(judge, "unicorn")
    assert development_prompts(WorldDetector.bundled(), "santa").name == "v1/development/santa"


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
