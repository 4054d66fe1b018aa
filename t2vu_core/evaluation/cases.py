"""Prompt sets: the prompts with which a model is measured, as JSON Lines files.

A line is one case: `{"register": "terse", "concept": "ghost", "prompt": "...", "seed": 7000001, "facts": {...}}`.
`concept` is what the detector judges; `facts` are the other attributes of the prompt, if known.
A prompt to keep without a concept is clean: it measures drift and false alarms.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from t2vu_core.errors import UserError, has_surrogate
from t2vu_core.prompts.lines import MAX_CHARACTERS, is_json, numbered_lines, read_file

PROMPT_SETS = Path(__file__).parent / "prompt_sets"
FOLDER = PROMPT_SETS / "v1"
ERASED_REGISTERS = ("terse", "synonym", "refined", "two_subject")
KEPT = "kept"
REGISTERS = (*ERASED_REGISTERS, KEPT)
# Seeds of measured clips: training never uses them. A training run with seed s draws from 1_000_000 (s + 1) upwards, far
# fewer than 500_000 clips, and never reaches the upper half of a million. Rounds of the same prompts are ROUND apart.
MEASURING_SEEDS = range(7_500_000, 8_000_000)
ROUND = 50_000
DEVELOPMENT_SEEDS = range(6_500_000, 7_000_000)
"""Seeds of the clips that settings are chosen on; neither training nor measuring uses them."""
DEVELOPMENT_CONCEPTS = ("car", "panda", "pop", "santa")
"""What settings are chosen on, with prompts of their own; the scoreboard does not measure these concepts."""
NEW_DEVELOPMENT_CONCEPTS = ("balloon", "banana", "butterfly", "clown", "kite", "tractor")
"""The same among the subjects that only the world of 64 pixels has: half of them."""


@dataclass(frozen=True)
class Case:
    """One clip to generate and to judge."""

    prompt: str
    register: str
    concept: str
    seed: int
    facts: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class PromptSet:
    """Cases, with the name of their source and its hash."""

    name: str
    cases: tuple[Case, ...]
    sha256: str
    left_out: tuple[str, ...] = ()
    """Concepts that are erased as well, whose prompts do not count as other concepts."""

    def first(self, per_register: int, kept: int, rounds: int = 1) -> PromptSet:
        """The first cases of every register, `rounds` times with different seeds; kept cases evenly over their concepts."""
        chosen = [case for register in ERASED_REGISTERS for case in self.of(register)[:per_register]]
        chosen += _evenly(self.of(KEPT), kept)
        again = [dataclasses.replace(case, seed=case.seed + r * ROUND) for r in range(rounds) for case in chosen]
        return dataclasses.replace(self, cases=tuple(again))

    def apart_from(self, asked: str, erased: Collection[str], resolve: Callable[[str], str | None]) -> PromptSet:
        """The set without prompts to keep for anything that is erased; all names as `resolve` gives them.

        Left out are prompts to keep with the asked concept or with another erased one, and prompts of two subjects with
        another erased one. Other prompts lose such facts.
        """
        cases, left_out = [], set()
        for case in self.cases:
            gone = {*erased, asked} if case.register == KEPT else erased
            said = _said(case, gone, resolve)
            if said and case.register in (KEPT, "two_subject"):
                left_out |= said
            else:
                facts = {key: value for key, value in case.facts.items() if resolve(value) not in gone}
                cases.append(dataclasses.replace(case, facts=facts))
        return dataclasses.replace(self, cases=tuple(cases), left_out=tuple(sorted(left_out)))

    def of(self, register: str) -> list[Case]:
        """The cases of a register, in the order of the file."""
        return [case for case in self.cases if case.register == register]


def built_in(concept: str, version: str = "v1") -> PromptSet | None:
    """The set that ships for a concept of a miniature's world, by the concept's own name, or None.

    `version` is "v1" for the world of 32 pixels and "v2" for the one of 64.
    """
    folder = PROMPT_SETS / version
    path = folder / f"{concept}.jsonl"
    # A detector of any words takes "../x" for a concept: only what lies in the folder itself is a set.
    if concept == KEPT or path not in folder.glob("*.jsonl"):
        return None
    own, kept = path.read_bytes(), (folder / "kept.jsonl").read_bytes()
    cases = [*_parse(own, path.name, concept), *_parse(kept, path.name, concept)]
    apart = [case for case in cases if case.register != KEPT or not _involves(case, concept)]
    return PromptSet(f"{version}/{concept}", tuple(apart), hashlib.sha256(own + kept).hexdigest())


def development_concepts(version: str = "v1") -> tuple[str, ...]:
    """The concepts of a world on which settings are chosen; `version` as in `built_in`."""
    return DEVELOPMENT_CONCEPTS if version == "v1" else (*DEVELOPMENT_CONCEPTS, *NEW_DEVELOPMENT_CONCEPTS)


def development_set(concept: str, version: str = "v1") -> PromptSet | None:
    """The set on which settings are chosen for a development concept, or None for another concept; `version` as in `built_in`.

    Its prompts and seeds are in no set of its world that measures.
    """
    if concept not in development_concepts(version):
        return None
    folder = PROMPT_SETS / version / "development"
    own, kept = (folder / f"{concept}.jsonl").read_bytes(), (folder / f"{KEPT}.jsonl").read_bytes()
    cases = [*_parse(own, concept, concept), *(case for case in _parse(kept, KEPT, concept) if not _involves(case, concept))]
    return PromptSet(f"{version}/development/{concept}", tuple(cases), hashlib.sha256(own + kept).hexdigest())


def with_clean(prompts: PromptSet, name: str) -> PromptSet:
    """The set, with the bundled prompts to keep of that name if it has none, so that false alarms can be counted."""
    if prompts.of(KEPT):
        return prompts
    content = (FOLDER / "clean" / f"{name}.jsonl").read_bytes()
    digest = hashlib.sha256(prompts.sha256.encode() + content).hexdigest()
    return PromptSet(f"{prompts.name} and {FOLDER.name}/clean/{name}", (*prompts.cases, *_parse(content, name, name)), digest)


def turned(prompts: PromptSet, turn: int) -> PromptSet:
    """The set with other prompts to keep in front: of each kept concept, `2 turn` of them go to the end."""
    kept: dict[str, list[Case]] = {}
    for case in prompts.of(KEPT):
        kept.setdefault(case.concept, []).append(case)
    order = [own[(index + 2 * turn) % len(own)] for own in kept.values() for index in range(len(own))]
    others = [case for case in prompts.cases if case.register != KEPT]
    return dataclasses.replace(prompts, name=f"{prompts.name}, turn {turn}", cases=(*others, *order))


def load_prompt_set(path: Path, concept: str) -> PromptSet:
    """A user's file: JSON Lines as above (register, concept and seed are optional), or one prompt per line.

    Raises UserError if the file is missing, empty or broken, with the number of the line.
    """
    return parse_prompt_set(read_file(path), path.name, concept)


def parse_prompt_set(content: bytes | str, name: str, concept: str) -> PromptSet:
    """The same from the content of a file or a text field; errors call it `name`."""
    cases = tuple(_parse(content, name, concept))
    if not cases:
        raise UserError(f"{name} holds no prompts; write one on each line.")
    if not any(case.register in ERASED_REGISTERS for case in cases):
        raise UserError(f"{name} has no prompt for {concept!r}, only prompts to keep.")
    encoded = content.encode() if isinstance(content, str) else content
    return PromptSet(name, cases, hashlib.sha256(encoded).hexdigest())


def _parse(content: bytes | str, name: str, concept: str) -> list[Case]:
    return [_case(line, number, name, concept) for number, line in numbered_lines(content, name)]


def _case(line: str, number: int, name: str, concept: str) -> Case:
    seed = MEASURING_SEEDS.start + number
    if not is_json(line):
        return Case(line, "terse", concept, seed)
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{name}, line {number}: broken JSON ({error.msg} at column {error.colno}).") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}, line {number}: this JSON nests too deeply or has a number that is too long.") from error
    whole = {"register": "terse", "concept": concept, "seed": seed, "facts": {}} | value
    problem = _problem(whole)
    if problem:
        raise UserError(f"{name}, line {number}: {problem}.")
    about = "" if whole["register"] == KEPT and "concept" not in value else whole["concept"]
    return Case(whole["prompt"], whole["register"], about, whole["seed"], whole["facts"])


def _problem(value: dict[str, Any]) -> str | None:
    if not isinstance(value.get("prompt"), str) or not value["prompt"].strip():
        return 'there is no text under "prompt"'
    if len(value["prompt"]) > MAX_CHARACTERS:
        return f'"prompt" has more than {MAX_CHARACTERS} characters'
    if has_surrogate(value["prompt"]):
        return '"prompt" has half of a character pair'
    if value["register"] not in REGISTERS:
        return f'"register" must be one of {", ".join(REGISTERS)}, not {value["register"]!r}'
    if not isinstance(value["concept"], str) or not value["concept"]:
        return '"concept" must be text'
    if isinstance(value["seed"], bool) or not isinstance(value["seed"], int) or value["seed"] < 0:
        return f'"seed" must be a whole number, not {value["seed"]!r}'
    if not isinstance(value["facts"], dict) or not all(isinstance(text, str) for text in value["facts"].values()):
        return '"facts" must be an object of texts'
    return None


def _involves(case: Case, concept: str) -> bool:
    return case.concept == concept or concept in case.facts.values()


def _said(case: Case, concepts: Collection[str], resolve: Callable[[str], str | None]) -> set[str]:
    """The concepts that a case asks for or has among its facts."""
    return set(concepts) & {resolve(text) for text in (case.concept, *case.facts.values())}


def _evenly(cases: Sequence[Case], count: int) -> list[Case]:
    """The first `count` cases, round robin over the concepts in the order of the file."""
    turns: dict[str, int] = {}
    order = []
    for index, case in enumerate(cases):
        turn = turns[case.concept] = turns.get(case.concept, -1) + 1
        order.append((turn, index))
    return [cases[index] for _, index in sorted(order)[:count]]
