"""The demo's prompts: the concept in many places, and as many prompts about other subjects."""

from __future__ import annotations

import random
from dataclasses import dataclass

from t2vu_core.miniature.captions import caption
from t2vu_core.miniature.world import BACKGROUNDS, MOTIONS, NOBODY, STYLES, SUBJECTS

SEED = 20_000


@dataclass(frozen=True)
class Pair:
    """What one run of the graph samples, twice: before and after."""

    concept_prompt: str
    other_prompt: str
    other: str
    seed: int


def demo_pairs(concept: str, count: int) -> list[Pair]:
    """Prompts over all motions and backgrounds; the same list every time."""
    rng = random.Random(0)
    others = [subject for subject in SUBJECTS if subject != concept]
    return [
        Pair(
            concept_prompt=_prompt(concept, index, rng),
            other_prompt=_prompt(others[index % len(others)], index + 2, rng),
            other=others[index % len(others)],
            seed=SEED + index,
        )
        for index in range(count)
    ]


def _prompt(subject: str, index: int, rng: random.Random) -> str:
    motion, background = index % len(MOTIONS), (index + index // len(MOTIONS)) % len(BACKGROUNDS)
    return caption([SUBJECTS.index(subject), NOBODY, STYLES.index("plain"), motion, background], rng)
