"""The miniature's world: what its clips show, how they are said, and what is held out for measuring."""

from __future__ import annotations

import random
import re

import pytest
import torch

from t2vu_core.miniature import captions, world
from t2vu_core.miniature.detector import augment, ruin, subject_targets
from t2vu_core.miniature_build.architecture import MAX_TEXT_TOKENS, make_tokenizer
from t2vu_core.miniature_build.build import prompt_set


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(num_captions=3000)


def labels(count: int, seed: int = 0, **options: float) -> torch.Tensor:
    return world.sample_labels(count, torch.Generator().manual_seed(seed), **options)


def render(rows: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return world.render(rows, torch.Generator().manual_seed(seed))


def row(subject: str = "ghost", style: str = "plain", motion: str = "still", background: str = "sky") -> list[int]:
    return [
        world.SUBJECTS.index(subject),
        world.NOBODY,
        world.STYLES.index(style),
        world.MOTIONS.index(motion),
        world.BACKGROUNDS.index(background),
    ]


def centre(clip: torch.Tensor, still: torch.Tensor) -> torch.Tensor:
    """Where a clip differs from its empty scene: (frames, 2) as y, x."""
    weight = (clip - still).abs().sum(1)
    grid = torch.arange(world.SIZE).float()
    total = weight.sum((1, 2))
    return torch.stack([(weight.sum(2) * grid).sum(1) / total, (weight.sum(1) * grid).sum(1) / total], 1)


def test_the_same_seed_draws_the_same_clips() -> None:
    assert torch.equal(render(labels(6)), render(labels(6)))
    assert not torch.equal(render(labels(6)), render(labels(6), seed=1))


@pytest.mark.parametrize(("motion", "axis", "sign"), [("left", 1, -1), ("right", 1, 1), ("up", 0, -1), ("down", 0, 1)])
def test_subjects_move_where_the_label_says(motion: str, axis: int, sign: int) -> None:
    empty = torch.tensor([row(motion=motion)])
    empty[0, 0] = world.NOBODY
    moved = centre(render(torch.tensor([row(motion=motion)]))[0], render(empty)[0])
    assert sign * (moved[-1] - moved[0])[axis] > 10


def test_a_still_subject_stays_and_a_growing_one_grows() -> None:
    still, growing = render(torch.tensor([row(), row(motion="growing")]))
    assert torch.equal(still[0], still[-1])
    nobody = torch.tensor([row(), row(motion="growing")])
    nobody[:, world.FIRST] = world.NOBODY
    covered = ((growing - render(nobody)[1]).abs().amax(1) > 0.1).sum((1, 2))
    assert covered[-1] > 3 * covered[0]


@pytest.mark.parametrize("style", world.STYLES[1:])
def test_a_style_changes_the_whole_frame(style: str) -> None:
    plain, styled = render(torch.tensor([row()])), render(torch.tensor([row(style=style)]))
    assert ((plain - styled).abs().amax(2) > 0.05).float().mean() > 0.9


def test_a_clip_of_two_shows_both() -> None:
    pair = torch.tensor([row()])
    pair[0, world.SECOND] = world.SUBJECTS.index("cat")
    halves = render(pair)[0].split(world.SIZE // 2, dim=-1)
    alone = render(torch.tensor([row()]))[0, :, :, :3].mean((0, 2, 3))
    assert all((half.std((0, 2, 3)) > 0.1).any() for half in halves)
    assert subject_targets(pair).sum() == 2
    assert alone.shape == (3,)


def test_a_caption_says_every_fact_in_every_register() -> None:
    for register in captions.REGISTERS:
        for values in labels(200, empty=0.0).tolist():
            text = f" {captions.caption(values, random.Random(0), register=register)} ".replace(",", " ").replace(".", " ")
            words = captions.SUBJECT_WORDS[world.SUBJECTS[values[0]]]
            assert any(f" {name} " in text for name in (words.usual, *words.seen, *words.held_out)), text
            motion = captions.MOTION_WORDS[world.MOTIONS[values[3]]]
            assert any(f" {name} " in text for name in (motion.usual, *motion.seen)), text


def test_held_out_words_and_forms_are_never_in_what_erasing_may_use() -> None:
    held_out = [name for words in captions.SUBJECT_WORDS.values() for name in words.held_out]
    held_out += [name for words in captions.STYLE_WORDS.values() for name in words.held_out]
    seen = prompt_set()
    texts = [*seen["things"], *seen["manners"], *seen["preserve"], *(n for names in seen["names"].values() for n in names)]
    assert len(texts) > 300
    assert not [text for text in texts if any(f" {name} " in f" {text} ".replace(",", " ") for name in held_out)]
    assert not any(text.startswith(("a short clip showing", "we watch", "front and center")) for text in texts)


def test_an_empty_scene_does_not_move() -> None:
    moves = [form for words in captions.MOTION_WORDS.values() for form in (words.usual, *words.seen)]
    contexts = [text.split(" => ") for text in prompt_set()["things"]]
    lone = [(text, empty) for text, empty in contexts if captions.EMPTY_SUBJECT in empty]
    assert len(lone) > 40
    for text, empty in lone:
        assert any(move in text for move in moves), text
        assert not any(f" {move} " in f" {empty} ".replace(".", " ") for move in moves), empty
        assert "{}" not in empty
    both = [(text, stays) for text, stays in contexts if captions.EMPTY_SUBJECT not in stays]
    assert any("{} and " in text for text, _ in both)
    assert any(" and {}" in text for text, _ in both)
    for _, stays in both:
        assert re.search(r"\b(an? [a-z ]+) and \1\b", stays), stays


def test_held_out_captions_use_held_out_names() -> None:
    rng = random.Random(0)
    for values in labels(100, two_subjects=0.0, empty=0.0).tolist():
        text = captions.caption(values, rng, register="synonym", split="held_out")
        assert any(name in text for name in captions.held_out_words(world.SUBJECTS[values[0]])), text


def test_no_caption_is_cut_by_the_models_text_length(tokenizer) -> None:
    rng = random.Random(0)
    texts = [captions.caption(values, rng, register="refined") for values in labels(1000).tolist()]
    assert max(len(ids) for ids in tokenizer(texts).input_ids) <= MAX_TEXT_TOKENS


def test_a_word_never_seen_is_still_tokens(tokenizer) -> None:
    ids = tokenizer("a xylophone", add_special_tokens=False).input_ids
    assert len(ids) > 2
    assert tokenizer.unk_token_id not in ids


def test_training_captions_are_sometimes_short_and_sometimes_neutral() -> None:
    rng = random.Random(0)
    texts = [captions.caption(row(), rng, drop=0.3) for _ in range(300)]
    assert any("something" in text for text in texts)
    assert "a ghost" in texts


def test_ruined_and_augmented_clips_keep_shape_and_range() -> None:
    clips, generator = render(labels(6)), torch.Generator().manual_seed(0)
    for changed in (augment(clips, generator), ruin(clips, generator)):
        assert changed.shape == clips.shape
        assert changed.abs().max() <= 1
        assert not torch.equal(changed, clips)
