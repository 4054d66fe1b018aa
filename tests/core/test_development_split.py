"""Settings are chosen on other concepts, prompts and seeds than those that measure them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import ablations, encoder_objectives, encoder_rows, methods, safree_steps, scoreboard, scoreboard_row, tuning
from benchmarks.candidates import CANDIDATES
from benchmarks.development import MEASURING, TUNING, development_prompts
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


def judged(method: str, settings: Mapping[str, object], value: float) -> dict[str, object]:
    return {"method": method, "settings": dict(settings), "concept": "car", "value": value}


def test_a_method_of_which_no_candidate_had_an_effect_has_none_chosen() -> None:
    nothing = [judged("safree", settings, 0.0) for settings in CANDIDATES["safree"]]
    esd = [judged("esd", settings, value) for settings, value in zip(CANDIDATES["esd"], (0.1, 0.4, 0.4), strict=True)]
    assert tuning.best([*nothing, *esd], ["car"]) == {"esd": dict(CANDIDATES["esd"][1])}, "of a draw the first"
    assert tuning.without_effect([*nothing, *esd], ["car"]) == ["safree"]
    shown = [{**row, "shown": 1.0, "clean": 0.0, "kept": 1.0} for row in [*nothing, *esd]]
    text = tuning.document({"model": "m", "base_hash": "b", "concepts": ["car"], "rows": shown})
    assert "No candidate of safree had an effect" in text
    assert "| safree | **" not in text


def test_the_table_of_candidates_prints_the_settings_that_were_used() -> None:
    assert tuning.settings_in_words("esd", {}) == "rate 0.0002", "not the paper's rate"
    assert tuning.settings_in_words("refusal", {}) == "eta 0.5, directions 4"


def test_a_method_without_a_choice_takes_its_first_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "TUNED", tmp_path / "tuning.json")
    methods.TUNED.write_text('{"chosen": {"esd": {"rate": 1e-3}}}')
    assert methods.tuned("safree") == dict(CANDIDATES["safree"][0])
    assert methods.tuned("esd") == {"rate": 1e-3}
    assert methods.tuned("public_port") == {}


def test_the_document_has_the_counted_steps_of_safree() -> None:
    counts = safree_steps.document(safree_steps.counted("miniature", 4))
    assert counts in " ".join((BENCHMARKS / "README.md").read_text(encoding="utf-8").split())


MODULES = {path.stem: path for path in sorted(BENCHMARKS.glob("*.py"))}
MEASURES = {
    "PROMPT_SETS", "built_in", "evaluate", "evaluate_to", "load_prompt_set", "measuring_prompts", "prompts=None", "prompts_of",
    "scoreboard", "turned",
}  # fmt: skip
"""The names through which a module gets at prompts that measure; without prompts an evaluation takes the shipped ones."""


def names_in(path: Path) -> set[str]:
    """All names that a module uses, imports or defines, attributes and modules included; and whether it gives no prompts."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {part for alias in node.names for part in (alias.name.split(".")[-1], alias.asname) if part}
            names |= {node.module.split(".")[-1]} if isinstance(node, ast.ImportFrom) and node.module else set()
        elif isinstance(node, ast.keyword) and node.arg in ("prompts", "prompts_for"):
            names |= {f"{node.arg}=None"} if isinstance(node.value, ast.Constant) and node.value.value is None else set()
    return names


@pytest.mark.parametrize(
    "script",
    [
        "from benchmarks.scoreboard_row import measure\nmeasure(method, model, detector, cell, settings, prompts=None)",
        "from benchmarks import scoreboard\nscoreboard.main(['--concepts', 'ghost'])",
        "from benchmarks.scoreboard import main\nmain(['--concepts', 'ghost'])",
        "import t2vu_core.evaluation as e\ne.evaluate(model, 'ghost')",
    ],
)
def test_a_script_that_measures_past_the_development_prompts_is_found(script: str, tmp_path: Path) -> None:
    path = tmp_path / "sneaky.py"
    path.write_text(script)
    assert names_in(path) & MEASURES


def test_only_the_modules_that_measure_get_at_the_prompts_that_measure() -> None:
    found = {name for name, path in MODULES.items() if names_in(path) & MEASURES}
    assert found == set(MEASURING), (
        "a module in benchmarks reads measuring prompts, or no longer does: see development.MEASURING"
    )
    assert not set(TUNING) & set(MEASURING)


def test_the_scripts_that_use_development_prompts_are_those_that_choose_settings() -> None:
    using = {name for name, path in MODULES.items() if "development_prompts" in names_in(path)} - {"development"}
    assert using == set(TUNING)


@pytest.mark.parametrize("made", [scoreboard_row.measure, scoreboard_row.regrowth_control, encoder_rows.Bench])
def test_prompts_that_measure_are_never_a_default(made: Callable[..., object]) -> None:
    taken = inspect.signature(made).parameters
    (prompts,) = (each for name, each in taken.items() if name in ("prompts", "prompts_for"))
    assert prompts.default is inspect.Parameter.empty
