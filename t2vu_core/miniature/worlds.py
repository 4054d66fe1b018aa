"""The worlds as values: what a miniature clip can show.

A clip is 9 frames of 32 x 32 pixels (`WORLD_32`, 12 subjects) or 64 x 64 (`WORLD_64`, 24 subjects in six classes).
Its facts are one row of a label tensor (`first`, `second`, `style`, `motion`, `background`): indices into the tuples
below, with `NOBODY` where there is no subject. A number past the last subject is a distractor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

NUM_FRAMES = 9
NOBODY = -1

STYLES = ("plain", "noir", "sepia", "sketch", "pop")
MOTIONS = ("left", "right", "up", "down", "still", "growing")
BACKGROUNDS = ("sky", "night", "meadow", "sunset")
LABELS = ("first", "second", "style", "motion", "background")
FIRST, SECOND, STYLE, MOTION, BACKGROUND = range(len(LABELS))

# A pencil sketch keeps outlines only: the colours that tell sky from sunset are gone.
STYLES_HIDING_BACKGROUND = ("sketch",)

_WEIGHTS = Path(__file__).parent / "weights"


class Subject(NamedTuple):
    """What a world can show: its name, its glyph in Noto Color Emoji, and the class that it belongs to."""

    name: str
    glyph: str
    kind: str


@dataclass(frozen=True)
class World:
    """One world. Lengths of the drawing are given for 32 pixels and grow with `size`."""

    size: int
    drawn: tuple[Subject, ...]
    distractors: str
    """Glyphs drawn only to teach the detector what is *not* a known subject."""
    sprites_file: Path
    sprite_sizes: tuple[int, ...]
    """Sides of the sprites in pixels, largest first."""
    stored_sizes: tuple[int, ...]
    """Those of them that are in the file; the others are made from the largest."""
    star_radius: float
    prompt_sets: str
    """The version of the prompt sets that ask for what is in this world."""
    outline: float = 0.0
    """How dark the subjects' outlines are in the styles without colour, where they hardly differ from the background."""
    whole_radii: bool = False
    """Whether radii are whole pixels, so that every sprite falls on the pixels as it was drawn."""
    styles: tuple[str, ...] = STYLES
    motions: tuple[str, ...] = MOTIONS
    backgrounds: tuple[str, ...] = BACKGROUNDS
    num_frames: int = NUM_FRAMES

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """The names, in the order of the labels."""
        return tuple(subject.name for subject in self.drawn)

    @cached_property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Class -> the names of its subjects."""
        kinds = dict.fromkeys(subject.kind for subject in self.drawn)
        return {kind: tuple(subject.name for subject in self.drawn if subject.kind == kind) for kind in kinds}

    @cached_property
    def glyphs(self) -> tuple[str, ...]:
        """Every glyph, subjects first: the order in the sprite file and in the labels."""
        return (*(subject.glyph for subject in self.drawn), *self.distractors)


_FIRST_TWELVE = (
    Subject("ghost", "\U0001f47b", "monster"),
    Subject("robot", "\U0001f916", "toy"),
    Subject("wizard", "\U0001f9d9", "person"),
    Subject("dragon", "\U0001f409", "monster"),
    Subject("santa", "\U0001f385", "person"),
    Subject("princess", "\U0001f478", "person"),
    Subject("cat", "\U0001f431", "animal"),
    Subject("panda", "\U0001f43c", "animal"),
    Subject("car", "\U0001f697", "vehicle"),
    Subject("rocket", "\U0001f680", "vehicle"),
    Subject("pizza", "\U0001f355", "food"),
    Subject("octopus", "\U0001f419", "animal"),
)
_NEXT_TWELVE = (
    Subject("unicorn", "\U0001f984", "animal"),
    Subject("butterfly", "\U0001f98b", "animal"),
    Subject("alien", "\U0001f47d", "monster"),
    Subject("clown", "\U0001f921", "person"),
    Subject("tractor", "\U0001f69c", "vehicle"),
    Subject("sailboat", "\U000026f5", "vehicle"),
    Subject("burger", "\U0001f354", "food"),
    Subject("banana", "\U0001f34c", "food"),
    Subject("cake", "\U0001f382", "food"),
    Subject("teddy", "\U0001f9f8", "toy"),
    Subject("balloon", "\U0001f388", "toy"),
    Subject("kite", "\U0001fa81", "toy"),
)

WORLD_32 = World(
    size=32,
    drawn=_FIRST_TWELVE,
    distractors="🦊🤡🧛👮👽⛄🐧🎃🦆🎄🎈🍌🐸🦁🐵🐰🌵🍄☂🍉🐢🐳🦋🌻🏠⚽🎸🧟🥷👷🤠🐶🐷🦄🐝🍔",
    sprites_file=_WEIGHTS / "sprites.safetensors",
    sprite_sizes=(30, 24, 20, 15, 10),
    stored_sizes=(30, 24, 20, 15, 10),
    star_radius=1.0,
    prompt_sets="v1",
)
WORLD_64 = World(
    size=64,
    drawn=_FIRST_TWELVE + _NEXT_TWELVE,
    distractors="🦊🧛👮⛄🐧🎃🦆🎄🐸🦁🐵🐰🌵🍄☂🍉🐢🐳🌻🏠⚽🎸🧟🥷👷🤠🐶🐷🐝🚌🍦🚲",
    sprites_file=_WEIGHTS / "sprites-64.safetensors",
    # After the size in the file, one for each step of a growing subject, so that it stays sharp on the way.
    sprite_sizes=(60, 48, 44, 40, 38, 36, 34, 30, 28, 26, 24, 22, 20, 18, 16),
    stored_sizes=(60,),
    star_radius=1.6,
    prompt_sets="v2",
    outline=0.6,
    whole_radii=True,
)
WORLDS = (WORLD_32, WORLD_64)


def world_of(num_subjects: int) -> World:
    """The world with that many subjects; ValueError if there is none."""
    for world in WORLDS:
        if len(world.subjects) == num_subjects:
            return world
    raise ValueError(f"No world has {num_subjects} subjects; there are {[len(world.subjects) for world in WORLDS]}.")


def world_drawn_at(height: int) -> World:
    """The world of the clips of a model that makes clips of this height: that of 32 pixels for every model but its own."""
    return WORLD_64 if height == WORLD_64.size else WORLD_32
