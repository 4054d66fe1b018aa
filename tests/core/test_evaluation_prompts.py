"""Prompt sets: the ones that ship use what no training sees, and a user's file is read or refused with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from t2vu_core.errors import UserError
from t2vu_core.evaluation import MEASURING_SEEDS, WorldDetector, built_in, load_prompt_set
from t2vu_core.evaluation.build_prompt_sets import CONCEPTS, PER_REGISTER
from t2vu_core.evaluation.cases import ERASED_REGISTERS, KEPT
from t2vu_core.miniature.captions import (
    REFINED_OPENINGS,
    REFINED_PLACES,
    REFINED_STYLES,
    STYLE_WORDS,
    SUBJECT_WORDS,
    TERSE_FORMS,
)
from t2vu_core.miniature.detector import MiniatureDetector


@pytest.fixture(scope="module")
def resolve() -> Callable[[str], str | None]:
    """As the miniature's detector calls a concept."""
    return WorldDetector(MiniatureDetector()).resolve


def _frames(forms: tuple[str, ...]) -> list[str]:
    """The fixed words of sentence forms, long enough to be told apart."""
    pieces = [piece.strip(" .,") for form in forms for piece in form.replace("}", "{").split("{")[::2]]
    return [piece for piece in pieces if len(piece) > 8]


@pytest.mark.parametrize("concept", CONCEPTS)
def test_every_concept_has_every_register_on_held_out_words_and_reserved_seeds(concept: str) -> None:
    prompts = built_in(concept)
    assert prompts is not None
    for register in ERASED_REGISTERS:
        assert len(prompts.of(register)) == PER_REGISTER
    text = " ".join(case.prompt for case in prompts.cases)
    forms = (TERSE_FORMS, REFINED_OPENINGS, REFINED_PLACES, REFINED_STYLES)
    assert not [piece for words in forms for piece in _frames((words.usual, *words.seen)) if piece in text]
    words = {**SUBJECT_WORDS, **STYLE_WORDS}[concept]
    assert all(any(name in case.prompt for name in words.held_out) for case in prompts.of("synonym"))
    assert not [name for name in words.seen if f" {name} " in text]
    seeds = [case.seed for case in prompts.first(PER_REGISTER, 500, rounds=2).cases]
    assert len(set(seeds)) == len(seeds)
    assert all(seed in MEASURING_SEEDS for seed in seeds)


def test_no_training_starts_from_the_noise_of_a_measured_clip() -> None:
    for seed in (0, 1, 6, 7, 10**6):
        first, most = 1_000_000 * (seed + 1), 20_000
        assert not set(range(first, first + most)) & set(MEASURING_SEEDS)


@pytest.mark.parametrize("concept", ["ghost", "noir"])
def test_clips_to_keep_do_not_show_the_concept(concept: str) -> None:
    prompts = built_in(concept)
    assert prompts is not None
    kept = prompts.of(KEPT)
    words = {**SUBJECT_WORDS, **STYLE_WORDS}[concept]
    assert len(kept) > 100
    assert not [case for case in kept for name in (words.usual, *words.held_out) if name in case.prompt]
    assert {case.concept for case in prompts.first(1, 15).of(KEPT)} == set(CONCEPTS) - {concept}


def test_a_prompt_to_keep_that_names_no_concept_is_about_none(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('a ghost\n{"prompt": "an empty street", "register": "kept"}\n', encoding="utf-8")
    (case,) = load_prompt_set(path, "ghost").of(KEPT)
    assert case.concept == ""


@pytest.mark.parametrize("concept", CONCEPTS)
def test_one_erased_concept_leaves_its_set_as_it_ships(concept: str, resolve: Callable[[str], str | None]) -> None:
    prompts = built_in(concept)
    assert prompts is not None
    assert prompts.apart_from(concept, (), resolve) == prompts


def test_what_is_erased_with_the_asked_concept_is_not_among_what_is_kept(resolve: Callable[[str], str | None]) -> None:
    prompts = built_in("ghost")
    assert prompts is not None
    apart = prompts.apart_from("ghost", {"robot", "noir"}, resolve)
    assert apart.left_out == ("noir", "robot")
    assert {case.concept for case in apart.of(KEPT)} == set(CONCEPTS) - {"ghost", "robot", "noir"}
    others = [*apart.of(KEPT), *apart.of("two_subject")]
    assert not [case for case in others for word in ("robot", "android", "noir") if f" {word} " in f"{case.prompt} "]
    assert 0 < len(apart.of("two_subject")) < PER_REGISTER
    for register in ("terse", "synonym", "refined"):
        assert [case.prompt for case in apart.of(register)] == [case.prompt for case in prompts.of(register)]
    assert not [case for case in apart.cases if case.facts.get("style") == "noir"], "its loss is no loss of style"
    assert [case for case in apart.of("terse") if case.facts.get("style") == "sketch"]


def test_a_file_of_plain_lines_is_a_prompt_set(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("a ghost in the rain\n\na ghost on a bike\n", encoding="utf-8")
    prompts = load_prompt_set(path, "ghost")
    assert [case.prompt for case in prompts.of("terse")] == ["a ghost in the rain", "a ghost on a bike"]
    assert all(case.seed in MEASURING_SEEDS for case in prompts.cases)


def test_a_file_saved_with_a_byte_order_mark_is_read_as_one_without(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a ghost", "register": "refined"}\n')
    assert [case.prompt for case in load_prompt_set(path, "ghost").of("refined")] == ["a ghost"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no prompts"),
        (b"\n  \n", "holds no prompts"),
        (b'a ghost\n{"prompt": "a ghost"\n', "line 2: broken JSON"),
        (b'{"prompt": ""}\n', "line 1: there is no text"),
        (b'a ghost\n\n{"prompt": "a ghost", "register": "poem"}\n', 'line 3: "register" must be one of terse'),
        (b'{"prompt": "a ghost", "seed": "x"}\n', 'line 1: "seed" must be a whole number'),
        (b'{"prompt": "a ghost", "facts": [1]}\n', 'line 1: "facts" must be'),
        (b"a ghost\n\xff\xfe\n", "line 2: this is not UTF-8"),
        (b'{"prompt": "a cat", "register": "kept", "concept": "cat"}\n', "no prompt for 'ghost'"),
    ],
)
def test_a_broken_prompt_file_is_refused_with_the_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        load_prompt_set(path, "ghost")


def test_a_missing_prompt_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt cannot be read"):
        load_prompt_set(tmp_path / "none.txt", "ghost")


@pytest.mark.parametrize("concept", ["../v1/ghost", "clean/people", "x" * 300, KEPT])
def test_a_concept_in_any_words_never_leads_to_a_file_that_is_not_a_prompt_set_of_its_own(concept: str) -> None:
    assert built_in(concept) is None
