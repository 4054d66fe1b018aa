"""Prompt sets: the contexts, preserve prompts and known names that a model brings with it, or the general ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from t2vu_core.errors import UserError
from t2vu_core.input_files import read_bounded
from t2vu_core.prompts.pairs import bare, concept_kind
from t2vu_core.prompts.request import ConceptRequest


@dataclass(frozen=True)
class PromptSet:
    """Contexts for things and manners (each with one `{}`), preserve prompts, and other names of known concepts."""

    things: tuple[str, ...]
    manners: tuple[str, ...]
    preserve: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> PromptSet:
        """The prompt set that the content of a `prompts.json` describes."""
        names = {name: tuple(others) for name, others in content.get("names", {}).items()}
        return cls(tuple(content["things"]), tuple(content["manners"]), tuple(content["preserve"]), names)


def prompt_set_for(folder: Path | None) -> PromptSet:
    """The prompt set in a model's folder; the general one if it has none. Raises UserError if it cannot be read."""
    own = folder / "prompts.json" if folder else None
    if own is None or not own.exists():
        return _general_prompt_set()
    content = read_bounded(own, f"{own} is not a prompt set")
    try:
        return PromptSet.parse(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{own} is not a prompt set: {error}.") from error


def concept_names(concept: str, prompts: PromptSet, synonyms: Sequence[str] = ()) -> tuple[str, ...]:
    """The concept's names: its own first, then the user's synonyms, then the names that the prompt set knows.

    A longer name that contains the concept's words counts as one of its names: erasing "sketch style" also erases
    "pencil sketch style".
    """
    known: list[str] = []
    for name, others in prompts.names.items():
        if concept_kind(name) == concept_kind(concept) and set(bare(concept).split()) <= set(bare(name).split()):
            known += others if bare(name) == bare(concept) else (name, *others)
    cleaned = (" ".join(synonym.split()) for synonym in synonyms)
    return tuple(dict.fromkeys([concept, *filter(None, cleaned), *known]))


def names_by_concept(request: ConceptRequest, prompts: PromptSet) -> dict[str, tuple[str, ...]]:
    """`concept_names` of every concept in the request, in its order."""
    return {concept: concept_names(concept, prompts, request.synonyms) for concept in request.concepts}


@cache
def _general_prompt_set() -> PromptSet:
    content = resources.files("t2vu_core.prompts").joinpath("general.json").read_text(encoding="utf-8")
    return PromptSet.parse(json.loads(content))
