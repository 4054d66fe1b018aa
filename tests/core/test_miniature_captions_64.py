"""Captions of the world of 64 pixels: they may say less than the clip shows, never something else."""

from __future__ import annotations

import random

import pytest

from t2vu_core.miniature import captions
from t2vu_core.miniature.captions import (
    CLASS_WORDS,
    EMPTY_WORDS,
    REGISTERS,
    SOMETHING,
    SUBJECT_WORDS_64,
    Split,
    Words,
    caption,
    draw_caption,
)
from t2vu_core.miniature.worlds import FIRST, NOBODY, WORLD_64

KINDS = {subject.name: subject.kind for subject in WORLD_64.drawn}


def row(first: str | None = "unicorn", second: str | None = None) -> list[int]:
    indices = [NOBODY if name is None else WORLD_64.subjects.index(name) for name in (first, second)]
    return [*indices, 1, 0, 1]


def says(text: str, words: Words) -> bool:
    padded = f" {text} ".replace(",", " ").replace(".", " ")
    return any(f" {name} " in padded for name in (words.usual, *words.seen, *words.held_out))


def many(labels: list[int], count: int = 200, **options: float) -> list[str]:
    rng = random.Random(0)
    return [caption(labels, rng, register=rng.choice(REGISTERS), world=WORLD_64, **options) for _ in range(count)]


@pytest.mark.parametrize("name", WORLD_64.subjects)
def test_every_subject_is_named(name: str) -> None:
    assert all(says(text, SUBJECT_WORDS_64[name]) for text in many(row(name), 60))


@pytest.mark.parametrize("name", ["unicorn", "pizza", "alien", "balloon"])
def test_a_vague_caption_says_the_class_or_something(name: str) -> None:
    texts = many(row(name), vague=1.0)
    own = CLASS_WORDS[KINDS[name]]
    assert all(says(text, own) or says(text, SOMETHING) for text in texts)
    others = [words for kind, words in CLASS_WORDS.items() if kind != KINDS[name]]
    assert not [text for text in texts if any(says(text, words) for words in others)]
    share = sum(says(text, SOMETHING) for text in texts) / len(texts)
    assert 0.3 < share < 0.5


def test_as_many_captions_are_vague_as_asked() -> None:
    texts = many(row("unicorn"), 1000, vague=0.25)
    vague = sum(not says(text, SUBJECT_WORDS_64["unicorn"]) for text in texts)
    assert 200 < vague < 300


def test_of_two_subjects_either_may_be_vague_and_the_order_is_kept() -> None:
    texts = many(row("alien", "kite"), 400, vague=0.5)
    assert any("an alien and something" in text for text in texts)
    assert any("something and a kite" in text for text in texts)
    assert any("a monster and a kite" in text for text in texts)
    assert not any("kite and" in text for text in texts)


def test_an_empty_scene_names_no_subject() -> None:
    texts = many(row(None), 400, drop=0.5)
    named = [*SUBJECT_WORDS_64.values(), *CLASS_WORDS.values(), SOMETHING]
    assert not [text for text in texts if any(says(text, words) for words in named)]
    assert all("night" in text or says(text, EMPTY_WORDS) for text in texts)
    assert sum(says(text, EMPTY_WORDS) for text in texts) > 300
    assert "an empty scene" in texts
    assert any(text.startswith("just a starry night") for text in texts)


def test_no_word_means_two_things() -> None:
    names: dict[str, str] = {}
    for meaning, words in [*SUBJECT_WORDS_64.items(), *CLASS_WORDS.items(), ("something", SOMETHING), ("empty", EMPTY_WORDS)]:
        for name in (words.usual, *words.seen, *words.held_out):
            assert names.setdefault(name, meaning) == meaning, name


@pytest.mark.parametrize("split", ["seen", "held_out"])
def test_the_splits_share_no_names(split: Split) -> None:
    rng = random.Random(0)
    for name, words in SUBJECT_WORDS_64.items():
        others = words.held_out if split == "seen" else (words.usual, *words.seen)
        texts = [caption(row(name), rng, register="synonym", split=split, world=WORLD_64) for _ in range(20)]
        padded = [f" {text} ".replace(",", " ") for text in texts]
        assert not [text for text in padded if any(f" {other} " in text for other in others)]
    assert captions.held_out_words("kite") == SUBJECT_WORDS_64["kite"].held_out


def test_training_captions_are_left_out_as_often_as_asked() -> None:
    rng = random.Random(0)
    texts = [draw_caption(row(), rng, dropout=0.3) for _ in range(1000)]
    assert 250 < texts.count("") < 350
    assert "" not in [draw_caption(row(), rng, dropout=0.0) for _ in range(200)]


@pytest.mark.parametrize(
    ("labels", "texts"),
    [
        (row(), {"a unicorn", "an animal", "something"}),
        (row("alien", "kite"), {"an alien and a kite", "a monster and a kite", "an alien and something"}),
        (row(None), {"an empty scene", "nothing", "just the place"}),
    ],
)
def test_some_training_captions_say_only_who_is_there(labels: list[int], texts: set[str]) -> None:
    rng = random.Random(0)
    drawn = [draw_caption(labels, rng, bare=0.5, vague=0.4) for _ in range(1500)]
    assert texts <= set(drawn)


def test_a_register_that_is_not_asked_for_never_comes() -> None:
    rng = random.Random(0)
    texts = [draw_caption(row(), rng, shares={"terse": 1.0}, dropout=0.0, bare=0.0, vague=0.0) for _ in range(200)]
    assert all(text.count(".") == 0 for text in texts)
    assert all("a unicorn" in text for text in texts)
    assert row()[FIRST] == 12
