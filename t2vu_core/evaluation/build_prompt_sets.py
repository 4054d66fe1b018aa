"""Writes the prompt sets of the miniature's world: `python -m t2vu_core.evaluation.build_prompt_sets`.

Only the held-out words and sentence forms of the captions are used, and only seeds reserved for measuring.
The files are versioned: changed content goes into a new folder, so that old scores stay comparable.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict

from t2vu_core.evaluation.cases import ERASED_REGISTERS, FOLDER, KEPT, MEASURING_SEEDS, Case
from t2vu_core.miniature.captions import Register, caption
from t2vu_core.miniature.world import BACKGROUNDS, MOTIONS, NOBODY, STYLES, STYLES_HIDING_BACKGROUND, SUBJECTS

PER_REGISTER = 32
PER_KEPT_CONCEPT = 12
STYLE_CONCEPTS = STYLES[1:]
CONCEPTS = (*SUBJECTS, *STYLE_CONCEPTS)


def main() -> None:
    """Write one file per concept, and the prompts to keep that all sets share."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    seeds = iter(MEASURING_SEEDS)
    sets = {concept: list(_erased(concept, seeds)) for concept in CONCEPTS}
    sets[KEPT] = list(_kept(seeds))
    for name, cases in sets.items():
        text = "".join(json.dumps(asdict(case)) + "\n" for case in cases)
        (FOLDER / f"{name}.jsonl").write_text(text, encoding="utf-8")


def _erased(concept: str, seeds: Iterator[int]) -> Iterator[Case]:
    for register in ERASED_REGISTERS:
        rng = random.Random(f"{concept} {register}")
        for number in range(PER_REGISTER):
            yield _case(concept, register, number, rng, next(seeds))


def _kept(seeds: Iterator[int]) -> Iterator[Case]:
    rng = random.Random(KEPT)
    for number in range(PER_KEPT_CONCEPT):
        for concept in CONCEPTS:
            yield _case(concept, KEPT, number, rng, next(seeds))


def _case(concept: str, register: str, number: int, rng: random.Random, seed: int) -> Case:
    """Subjects mostly in the plain style, styles over all subjects; motions in turn, random backgrounds."""
    others = [name for name in SUBJECTS if name != concept]
    first = concept if concept in SUBJECTS else rng.choice(others)
    second = rng.choice([name for name in others if name != first]) if register == "two_subject" else None
    style = concept if concept in STYLE_CONCEPTS else _style(register, number, rng)
    motion, background = MOTIONS[number % len(MOTIONS)], BACKGROUNDS[rng.randrange(len(BACKGROUNDS))]
    if second is not None and rng.random() < 0.5:
        first, second = second, first
    facts = {"style": style, "motion": motion}
    if style not in STYLES_HIDING_BACKGROUND:
        facts["background"] = background
    subjects = [name for name in (first, second) if name not in (None, concept)]
    facts |= {"subject": subjects[0]} if subjects else {}
    labels = [
        SUBJECTS.index(first),
        NOBODY if second is None else SUBJECTS.index(second),
        STYLES.index(style),
        MOTIONS.index(motion),
        BACKGROUNDS.index(background),
    ]
    text = caption(labels, rng, register=_written(register, number), split="held_out")
    return Case(text, register, concept, seed, facts)


def _written(register: str, number: int) -> Register:
    """Prompts to keep alternate between the short and the long form."""
    if register == KEPT:
        return "refined" if number % 2 else "terse"
    return "synonym" if register == "synonym" else "refined" if register == "refined" else "terse"


def _style(register: str, number: int, rng: random.Random) -> str:
    if register == KEPT:
        return "plain"
    return "plain" if number % 2 == 0 else rng.choice(STYLE_CONCEPTS)


if __name__ == "__main__":
    main()
