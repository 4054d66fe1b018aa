"""What a user asks to have erased, as one value: nodes and commands make it, a plan is made from it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from t2vu_core.errors import UserError, check_text
from t2vu_core.prompts.concept_words import concept_words
from t2vu_core.prompts.kinds import AskedKind, asked_kind
from t2vu_core.prompts.lines import MAX_CHARACTERS, MAX_LINES

MOST = {
    "concepts": 64,
    "synonyms": 64,
    "concept_prompts": MAX_LINES,
    "preserve_prompts": MAX_LINES,
    "neighbours": MAX_LINES,
}
"""How many of each a request takes; a plan compares every prompt with every name."""


@dataclass(frozen=True)
class ConceptRequest:
    """The concepts to erase and the user's own words for them.

    `concepts` are cleaned of surplus spaces, weights and quotes, and each kept once. All texts are composed (NFC): a name is
    found however its accents are typed. Raises UserError if there is no concept, if one names nothing or lists alternatives,
    if there are too many, if `synonyms` come with several concepts, since it is not clear whose synonyms they are, or if
    `kind` is unknown.
    """

    concepts: tuple[str, ...]
    synonyms: tuple[str, ...] = ()
    """Other names of the concept."""
    concept_prompts: tuple[str, ...] = ()
    """The user's own prompts that name the concept."""
    preserve_prompts: tuple[str, ...] = ()
    """The user's own prompts that must keep working."""
    language_model: Path | None = None
    """A transformers folder that writes further prompts with the concept."""
    kind: AskedKind = "auto"
    """What the concepts are; `auto` decides by their words. "manner" of earlier versions is a style."""
    attribute_of: str | None = None
    """What an attribute belongs to: "a shirt"."""
    replacement: str | None = None
    """What stands in the concept's place: "a robot"; empty or None: what its kind suggests."""
    neighbours: tuple[str, ...] = ()
    """What lies near the concept and must stay; if there are none, the shipped table's."""

    def __post_init__(self) -> None:
        given = [self.concepts] if isinstance(self.concepts, str) else list(self.concepts) or [""]
        object.__setattr__(self, "concepts", tuple(dict.fromkeys(clean_concept(each) for each in given)))
        object.__setattr__(self, "kind", asked_kind(self.kind))
        for name in ("attribute_of", "replacement"):
            words = composed(" ".join((getattr(self, name) or "").split()))
            check_text(words, "The text")
            object.__setattr__(self, name, words or None)
        for name in ("synonyms", "concept_prompts", "preserve_prompts", "neighbours"):
            object.__setattr__(self, name, tuple(map(composed, getattr(self, name))))
            for text in getattr(self, name):
                _check_prompt(text, "The text")
        for name, most in MOST.items():
            if len(getattr(self, name)) > most:
                raise UserError(f"{len(getattr(self, name))} {name.replace('_', ' ')} are too many: at most {most} are taken.")
        if len(self.concepts) > 1 and self.synonyms:
            raise UserError(
                f"With several concepts it is not clear whose synonym {self.synonyms[0]!r} is: add it as a concept of its own."
            )

    @classmethod
    def of(cls, concept: str | Sequence[str] | ConceptRequest) -> ConceptRequest:
        """The request that a concept in words stands for; a request is returned as it is."""
        if isinstance(concept, ConceptRequest):
            return concept
        return cls((concept,) if isinstance(concept, str) else tuple(concept))

    @property
    def title(self) -> str:
        """All concepts in one line, as file descriptions and logs name them."""
        return ", ".join(self.concepts)


def composed(text: str) -> str:
    """The text with each letter and its accents as one character, where there is one."""
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def clean_concept(concept: str) -> str:
    """The concept's own words with single spaces between them; raises UserError where there are none."""
    words = composed(" ".join(concept.split()))
    if not words:
        raise UserError('The concept is empty: say in words what to erase, for example "ghost".')
    _check_prompt(words, "The concept")
    return concept_words(words)


def _check_prompt(text: str, what: str) -> None:
    check_text(text, what)
    if len(text) > MAX_CHARACTERS:
        raise UserError(f"{what} {text[:40]!r}... has {len(text)} characters; at most {MAX_CHARACTERS} are read. Shorten it.")
