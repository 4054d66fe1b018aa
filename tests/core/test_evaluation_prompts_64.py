"""The prompt sets of the world of 64 pixels, and the detector that judges their clips."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from t2vu_core.evaluation import MEASURING_SEEDS, WorldDetector, built_in
from t2vu_core.evaluation.build_prompt_sets import PER_REGISTER, WORLDS, concepts_of, write_sets
from t2vu_core.evaluation.cases import ERASED_REGISTERS, KEPT, PROMPT_SETS
from t2vu_core.miniature.captions import CLASS_WORDS, STYLE_WORDS, SUBJECT_WORDS_64
from t2vu_core.miniature.detector import MiniatureDetector
from t2vu_core.miniature.worlds import WORLD_32, WORLD_64

CONCEPTS = concepts_of(WORLD_64)


@pytest.fixture(scope="module")
def detector() -> WorldDetector:
    torch.manual_seed(0)
    return WorldDetector(MiniatureDetector(WORLD_64).eval())


@pytest.mark.parametrize("version", WORLDS)
def test_the_sets_that_ship_are_those_that_are_built(version: str, tmp_path: Path) -> None:
    write_sets(WORLDS[version], tmp_path)
    built = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.jsonl")}
    assert built == {path.name: path.read_text(encoding="utf-8") for path in (PROMPT_SETS / version).glob("*.jsonl")}


@pytest.mark.parametrize("concept", CONCEPTS)
def test_every_concept_has_every_register_on_held_out_words(concept: str, detector: WorldDetector) -> None:
    prompts = built_in(concept, WORLD_64.prompt_sets)
    assert prompts is not None
    assert {register: len(prompts.of(register)) for register in ERASED_REGISTERS} == dict.fromkeys(
        ERASED_REGISTERS, PER_REGISTER
    )
    words = {**SUBJECT_WORDS_64, **STYLE_WORDS}[concept]
    assert all(any(name in case.prompt for name in words.held_out) for case in prompts.of("synonym"))
    text = " ".join(case.prompt for case in prompts.cases)
    assert not [name for name in words.seen if f" {name} " in text]
    assert not [kind for kind in CLASS_WORDS.values() if f" {kind.usual} " in text]
    assert all(case.seed in MEASURING_SEEDS for case in prompts.first(PER_REGISTER, 500, rounds=2).cases)
    assert {case.concept for case in prompts.of(KEPT)} == set(CONCEPTS) - {concept}


def test_a_concept_of_the_larger_world_has_no_set_in_the_smaller() -> None:
    assert built_in("unicorn") is None
    assert WorldDetector(MiniatureDetector()).resolve("unicorn") is None


def test_the_detector_knows_its_world_by_all_names_and_judges_its_clips(detector: WorldDetector) -> None:
    assert detector.known() == CONCEPTS
    assert [detector.resolve(text) for text in ("a hamburger", "Martian", "in sepia style")] == ["burger", "alien", "sepia"]
    assert detector.resolve("an animal") is None
    for size, frames in ((64, 9), (32, 5), (128, 17)):
        (judgement,) = detector.judge(torch.rand(1, frames, 3, size, size), ["unicorn", "noir"])
        assert {name: len(seen) for name, seen in judgement.frames.items()} == {"unicorn": frames, "noir": frames}


def test_the_detector_opened_by_default_is_that_of_32_pixels() -> None:
    assert WorldDetector.bundled().world == WORLD_32
