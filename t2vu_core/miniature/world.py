"""Labels of a world and the clips drawn from them; the names here are those of the world of 32 pixels.

Functions take another world as `world`: `render(labels, generator, world=WORLD_64)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from t2vu_core.miniature.world_render import render, render_with_coverage
from t2vu_core.miniature.world_sprites import build_sprites
from t2vu_core.miniature.worlds import (
    BACKGROUND,
    BACKGROUNDS,
    FIRST,
    LABELS,
    MOTION,
    MOTIONS,
    NOBODY,
    NUM_FRAMES,
    SECOND,
    STYLE,
    STYLES,
    STYLES_HIDING_BACKGROUND,
    WORLD_32,
    WORLD_64,
    World,
    world_of,
)

__all__ = [
    "BACKGROUND", "BACKGROUNDS", "FIRST", "LABELS", "MOTION", "MOTIONS", "NOBODY", "NUM_FRAMES", "SECOND", "SIZE", "STYLE",
    "STYLES", "STYLES_HIDING_BACKGROUND", "SUBJECTS", "WORLD_32", "WORLD_64", "World", "build_sprites", "render",
    "render_with_coverage", "sample_labels", "sample_labels_without", "shows", "world_of",
]  # fmt: skip

SIZE = WORLD_32.size
SUBJECTS = WORLD_32.subjects


def sample_labels(
    num_clips: int,
    generator: torch.Generator,
    *,
    two_subjects: float = 0.3,
    empty: float = 0.03,
    distractors: float = 0.0,
    favour: Sequence[str] = (),
    world: World = WORLD_32,
) -> Tensor:
    """Draw (num_clips, 5) label rows; the probabilities say how often a row has two, no or unknown subjects.

    The subjects in `favour` come first, or alone, twice as often as the others. The rows lie on the generator's device.
    """

    def choice(count: int) -> Tensor:
        return torch.randint(0, count, (num_clips,), generator=generator, device=generator.device)

    subjects = world.subjects
    indices = [*range(len(subjects)), *(subjects.index(name) for name in favour)]
    pool = torch.tensor(indices, device=generator.device)
    first, second = pool[choice(len(pool))], choice(len(subjects) - 1)
    second = second + (second >= first)
    draw = torch.rand(num_clips, generator=generator, device=generator.device)
    second = torch.where((draw < two_subjects) & (draw <= 1 - empty), second, NOBODY)
    first = torch.where(draw > 1 - empty, NOBODY, first)
    unknown = (draw > 1 - empty - distractors) & (draw <= 1 - empty)
    first = torch.where(unknown, len(subjects) + choice(len(world.distractors)), first)
    rest = [choice(len(choices)) for choices in (world.styles, world.motions, world.backgrounds)]
    return torch.stack([first, second, *rest], 1)


def sample_labels_without(
    concept: str | None,
    num_clips: int,
    generator: torch.Generator,
    *,
    two_subjects: float = 0.3,
    empty: float = 0.03,
    favour: Sequence[str] = (),
    world: World = WORLD_32,
) -> Tensor:
    """Like `sample_labels`, but no row has the subject or style of that name; all rows if it is None."""

    def sample(count: int) -> Tensor:
        return sample_labels(count, generator, two_subjects=two_subjects, empty=empty, favour=favour, world=world)

    rows = sample(num_clips)
    while concept is not None and (told := shows(rows, concept, world=world)).any():
        rows = torch.cat([rows[~told], sample(int(told.sum()))])
    return rows


def shows(labels: Tensor, concept: str, *, world: World = WORLD_32) -> Tensor:
    """Which label rows have the subject or style of that name, bool (n,); ValueError for a name that is neither."""
    if concept in world.subjects:
        return (labels[:, [FIRST, SECOND]] == world.subjects.index(concept)).any(1)
    if concept not in world.styles:
        raise ValueError(f"The world of {world.size} pixels has no {concept!r}.")
    return labels[:, STYLE] == world.styles.index(concept)
