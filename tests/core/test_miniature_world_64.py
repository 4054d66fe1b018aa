"""The world of 64 pixels: 24 subjects in six classes, sharp at every size; and the one of 32, which may never change."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from t2vu_core.miniature import world
from t2vu_core.miniature.detector import augment, ruin, subject_targets
from t2vu_core.miniature.world import FIRST, NOBODY, SECOND, WORLD_32, WORLD_64, render, sample_labels
from t2vu_core.miniature.world_sprites import sprites

# Of four rows drawn with seed 42: the labels, and each clip's mean and deviation.
ROWS = [[38, -1, 0, 1, 3], [11, 10, 0, 2, 1], [39, -1, 2, 1, 1], [10, -1, 1, 5, 1]]
MEANS = [0.0306, -0.4835, -0.5402, -0.6093]
DEVIATIONS = [0.4515, 0.4773, 0.3566, 0.5262]
STILL, GROWING = WORLD_64.motions.index("still"), WORLD_64.motions.index("growing")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def labels(count: int, **options: float) -> Tensor:
    return sample_labels(count, seeded(), world=WORLD_64, **options)


def test_the_world_of_32_pixels_draws_what_the_bundled_models_were_trained_on() -> None:
    generator = seeded(42)
    rows = sample_labels(4, generator, distractors=0.3)
    clips = render(rows, generator)
    assert rows.tolist() == ROWS
    torch.testing.assert_close(clips.mean((1, 2, 3, 4)), torch.tensor(MEANS), atol=2e-4, rtol=0)
    torch.testing.assert_close(clips.std((1, 2, 3, 4)), torch.tensor(DEVIATIONS), atol=2e-4, rtol=0)


def test_the_first_twelve_subjects_are_those_of_the_smaller_world() -> None:
    assert WORLD_64.subjects[:12] == WORLD_32.subjects
    assert len(set(WORLD_64.subjects)) == 24


@pytest.mark.parametrize("each", [WORLD_32, WORLD_64])
def test_a_distractor_is_never_a_subject(each: world.World) -> None:
    assert len(set(each.glyphs)) == len(each.glyphs)
    drawn = sprites(each, torch.device("cpu"))
    assert [pixels.shape for pixels in drawn.values()] == [(len(each.glyphs), 4, size, size) for size in each.sprite_sizes]


def test_the_sprites_take_little_room() -> None:
    assert WORLD_64.sprites_file.stat().st_size <= 1.2 * 2**20


def test_every_class_has_three_members_or_more() -> None:
    assert {name: len(members) >= 3 for name, members in WORLD_64.classes.items()} == dict.fromkeys(
        ("monster", "toy", "person", "animal", "vehicle", "food"), True
    )
    assert sorted(name for members in WORLD_64.classes.values() for name in members) == sorted(WORLD_64.subjects)


def test_clips_are_64_pixels_wide_and_the_same_in_chunks_of_any_size() -> None:
    rows = labels(130)
    clips = render(rows, seeded(1), world=WORLD_64)
    assert clips.shape == (130, 9, 3, 64, 64)
    assert clips.abs().max() <= 1
    torch.testing.assert_close(clips, render(rows, seeded(1), world=WORLD_64, chunk=50), atol=1e-6, rtol=0)
    assert not torch.equal(clips, render(rows, seeded(2), world=WORLD_64))


def test_a_subject_is_drawn_pixel_by_pixel_as_its_sprite_at_every_size() -> None:
    """Sharp: no pixel between the sprite's own, whether the subject stays, moves or grows."""
    ghost = sprites(WORLD_64, torch.device("cpu"))
    for motion in range(len(WORLD_64.motions)):
        rows = torch.tensor([[0, NOBODY, 0, motion, 0]])
        _, coverage = world.render_with_coverage(rows, seeded(), world=WORLD_64)
        for frame in coverage[0, :, 0]:
            drawn = frame[frame > 0].double().sum()
            assert any(abs(drawn - pixels[0, 3].double().sum()) < 0.01 * drawn for pixels in ghost.values()) or _cut(frame)


def _cut(frame: Tensor) -> bool:
    return bool(torch.cat([frame[0], frame[-1], frame[:, 0], frame[:, -1]]).any())


def test_a_growing_subject_more_than_doubles() -> None:
    _, coverage = world.render_with_coverage(torch.tensor([[3, NOBODY, 0, GROWING, 0]]), seeded(), world=WORLD_64)
    widths = [int((frame[0] > 0.2).any(0).sum()) for frame in coverage[0]]
    assert widths == sorted(widths)
    assert widths[-1] > 2.2 * widths[0]


@pytest.mark.parametrize("style", WORLD_64.styles)
def test_no_two_subjects_look_alike_in_any_style(style: str) -> None:
    rows = torch.tensor([[index, NOBODY, WORLD_64.styles.index(style), STILL, 0] for index in range(24)])
    rows = rows.repeat_interleave(3, 0)
    frames = render(rows, seeded(), world=WORLD_64)[:, 0].flatten(1)
    distances = torch.cdist(frames, frames) / frames.shape[1] ** 0.5
    assert distances[rows[:, None, FIRST] != rows[None, :, FIRST]].min() > 0.08


def test_a_subject_stands_out_from_every_background_in_every_style() -> None:
    rows = [[index, NOBODY, style, STILL, place] for index in range(24) for style in range(5) for place in range(4)]
    rows = rows[::3]
    shown, empty = torch.tensor(rows), torch.tensor(rows)
    empty[:, FIRST] = NOBODY
    clips, coverage = world.render_with_coverage(shown, seeded(), world=WORLD_64)
    change = (clips - render(empty, seeded(), world=WORLD_64))[:, 0].abs().amax(1)
    inside = coverage[:, 0, 0] > 0.5
    strongest = torch.stack([change[at][inside[at]].quantile(0.9) for at in range(len(rows))])
    assert strongest.min() > 0.15


def test_empty_scenes_come_as_often_as_asked() -> None:
    rows = labels(4000, empty=0.1, two_subjects=0.25)
    assert 0.08 < (rows[:, FIRST] == NOBODY).float().mean() < 0.12
    assert 0.22 < (rows[:, SECOND] != NOBODY).float().mean() < 0.28
    assert rows[:, FIRST].max() == 23


def test_a_second_subject_may_be_asked_for_by_name() -> None:
    rows = labels(200, two_subjects=1.0, empty=0.0)
    kite = WORLD_64.subjects.index("kite")
    assert torch.equal(world.shows(rows, "kite", world=WORLD_64), (rows[:, :2] == kite).any(1))
    assert subject_targets(rows, 24).sum(1).eq(2).all()
    with pytest.raises(ValueError, match="no 'kite'"):
        world.shows(rows, "kite")


def test_ruined_and_augmented_clips_keep_shape_and_range() -> None:
    clips = render(labels(6), seeded(), world=WORLD_64)
    for changed in (augment(clips, seeded()), ruin(clips, seeded())):
        assert changed.shape == clips.shape
        assert changed.abs().max() <= 1
        assert not torch.equal(changed, clips)


def test_a_world_is_a_value() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        WORLD_64.size = 128  # type: ignore[misc]
    assert world.world_of(24) is WORLD_64
    with pytest.raises(ValueError, match="7 subjects"):
        world.world_of(7)
