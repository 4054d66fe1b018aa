"""Writes the prompt sets of the miniatures' worlds: `python -m t2vu_core.evaluation.build_prompt_sets`.

`v1` asks for what the world of 32 pixels has, `v2` for what the one of 64 has. Settings are chosen on the prompts and seeds of
`v1/development` and `v2/development`.
Only the held-out words and sentence forms of the captions are used, and only seeds reserved for measuring.
The files are versioned: changed content goes into a new folder, so that old scores stay comparable.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from t2vu_core.evaluation.cases import (
    DEVELOPMENT_SEEDS,
    ERASED_REGISTERS,
    KEPT,
    MEASURING_SEEDS,
    PROMPT_SETS,
    Case,
    development_concepts,
)
from t2vu_core.miniature.captions import Register, caption
from t2vu_core.miniature.worlds import NOBODY, STYLES, STYLES_HIDING_BACKGROUND, WORLD_32, WORLD_64, World

PER_REGISTER = 32
PER_KEPT_CONCEPT = 12
STYLE_CONCEPTS = STYLES[1:]
WORLDS = {"v1": WORLD_32, "v2": WORLD_64}
CONCEPTS = (*WORLD_32.subjects, *STYLE_CONCEPTS)


def main() -> None:
    """Write the sets of every world."""
    for version, world in WORLDS.items():
        write_sets(world, PROMPT_SETS / version)
        write_development_sets(world, PROMPT_SETS / version / "development")


def write_sets(world: World, folder: Path) -> None:
    """Write one file a concept, and the one of clips to keep that all share."""
    _write(measuring_sets(world), folder)


def measuring_sets(world: World) -> dict[str, list[Case]]:
    """The cases by concept, and those to keep."""
    seeds = iter(MEASURING_SEEDS)
    sets = {concept: list(_erased(world, concept, seeds)) for concept in concepts_of(world)}
    return {**sets, KEPT: list(_kept(world, seeds))}


def write_development_sets(world: World, folder: Path) -> None:
    """The same for the development concepts of a world, with seeds and prompts that no measuring set of the world has."""
    known = {case.prompt for cases in measuring_sets(world).values() for case in cases}
    seeds = iter(DEVELOPMENT_SEEDS)
    sets = {concept: list(_others(world, concept, seeds, known)) for concept in development_concepts(world.prompt_sets)}
    rng = random.Random("development kept")
    sets[KEPT] = [
        _other_than(known, world, concept, KEPT, number, rng, next(seeds))
        for number in range(PER_KEPT_CONCEPT)
        for concept in concepts_of(world)
    ]
    _write(sets, folder)


def _others(world: World, concept: str, seeds: Iterator[int], known: set[str]) -> Iterator[Case]:
    for register in ERASED_REGISTERS:
        rng = random.Random(f"development {concept} {register}")
        for number in range(PER_REGISTER):
            yield _other_than(known, world, concept, register, number, rng, next(seeds))


def _other_than(known: set[str], world: World, concept: str, register: str, number: int, rng: random.Random, seed: int) -> Case:
    """The first case whose prompt is not known, of this number or another; then it is known."""
    case = _case(world, concept, register, number, rng, seed)
    while case.prompt in known:
        case = _case(world, concept, register, rng.randrange(1000), rng, seed)
    known.add(case.prompt)
    return case


def _write(sets: Mapping[str, Sequence[Case]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, cases in sets.items():
        text = "".join(json.dumps(asdict(case)) + "\n" for case in cases)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def concepts_of(world: World) -> tuple[str, ...]:
    """What can be erased of a world: its subjects, and its styles but the plain one."""
    return (*world.subjects, *STYLE_CONCEPTS)


def _erased(world: World, concept: str, seeds: Iterator[int]) -> Iterator[Case]:
    for register in ERASED_REGISTERS:
        rng = random.Random(f"{concept} {register}")
        for number in range(PER_REGISTER):
            yield _case(world, concept, register, number, rng, next(seeds))


def _kept(world: World, seeds: Iterator[int]) -> Iterator[Case]:
    rng = random.Random(KEPT)
    for number in range(PER_KEPT_CONCEPT):
        for concept in concepts_of(world):
            yield _case(world, concept, KEPT, number, rng, next(seeds))


def _case(world: World, concept: str, register: str, number: int, rng: random.Random, seed: int) -> Case:
    """Subjects in the plain style mostly, styles over all subjects; motions and backgrounds in turn."""
    others = [name for name in world.subjects if name != concept]
    first = concept if concept in world.subjects else rng.choice(others)
    second = rng.choice([name for name in others if name != first]) if register == "two_subject" else None
    style = concept if concept in STYLE_CONCEPTS else _style(register, number, rng)
    motion, background = world.motions[number % len(world.motions)], world.backgrounds[rng.randrange(len(world.backgrounds))]
    if second is not None and rng.random() < 0.5:
        first, second = second, first
    facts = {"style": style, "motion": motion}
    if style not in STYLES_HIDING_BACKGROUND:
        facts["background"] = background
    subjects = [name for name in (first, second) if name not in (None, concept)]
    facts |= {"subject": subjects[0]} if subjects else {}
    labels = [
        world.subjects.index(first),
        NOBODY if second is None else world.subjects.index(second),
        world.styles.index(style),
        world.motions.index(motion),
        world.backgrounds.index(background),
    ]
    text = caption(labels, rng, register=_written(register, number), split="held_out", world=world)
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
