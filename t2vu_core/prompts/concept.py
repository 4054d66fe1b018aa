"""A concept as we understand it: its kind, its names, what stands in its place, and what lies near it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from t2vu_core.errors import UserError
from t2vu_core.mentions import bare, mentions, says
from t2vu_core.prompts import english
from t2vu_core.prompts.common_concepts import (
    CommonConcept,
    ConceptKind,
    common_concept,
    plain_name,
    shown_by,
    with_same_noun,
)
from t2vu_core.prompts.fitting import NOTHING, check_kept, check_replacement, doubts, same_concept
from t2vu_core.prompts.kinds import KindChoice, choose_kind, is_look, is_overlay
from t2vu_core.prompts.meanings import object_neighbours
from t2vu_core.prompts.prompt_set import PromptSet, known_names
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.prompts.wording import A_PERSON, EMPTY_SCENE, SUBJECT_KINDS, Wording, as_style, does

CALM = "calm"
_PLAIN_STYLES = ("in realistic style", "in natural colors", "as a photograph")
NONE: Mapping[str, Sequence[str]] = MappingProxyType({})


@dataclass(frozen=True)
class Concept:
    """One concept of a request."""

    title: str
    """As the user wrote it."""
    kind: ConceptKind
    reason: str
    """Why it is of this kind."""
    sure: bool
    names: tuple[str, ...]
    """What the prompts call it, its own name first."""
    replacements: tuple[str, ...]
    """What may stand in its place, the first choice first; "" is nothing."""
    neighbours: tuple[str, ...]
    """What lies near it and must stay."""
    of: str | None = None
    """What an attribute belongs to."""
    proper: tuple[str, ...] = ()
    """The names that take no article."""
    doubts: tuple[str, ...] = ()
    """What a user should look at."""
    shown_by: tuple[str, ...] = ()
    """Words of scenes that show it without its names: no context and no preserve prompt of ours has them."""

    @property
    def replacement(self) -> str:
        """What stands in its place."""
        return self.replacements[0]

    def wording(self, name: str) -> Wording:
        """How one of the names is said."""
        instead, proper = self.replacement, name in self.proper
        if self.kind == "person" and not proper and instead != EMPTY_SCENE and english.is_plural(name):
            instead = english.plural(instead)
        return Wording(self.kind, name, instead, self.of, proper)

    @property
    def context_kind(self) -> ConceptKind:
        """The kind whose contexts are used: those of a character also say the place without anybody."""
        return "character" if self.kind == "person" and self.replacement == EMPTY_SCENE else self.kind

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "concept": self.title,
            "concept_kind": self.kind, "kind_reason": self.reason, "names": list(self.names), "of": self.of,
            "replacement": self.replacement, "replacements": list(self.replacements), "neighbours": list(self.neighbours),
        }  # fmt: skip


def understand(request: ConceptRequest, prompts: PromptSet, near: Mapping[str, Sequence[str]] = NONE) -> tuple[Concept, ...]:
    """The concepts of a request; `near` are a language model's neighbours by concept, for a request without its own.

    Raises UserError for a replacement or a neighbour that says one of the concepts.
    """
    concepts = tuple(_understand(title, request, prompts, near.get(title, ())) for title in request.concepts)
    concepts = tuple(_with_doubt_of_twins(concept, concepts[:index]) for index, concept in enumerate(concepts))
    every = [name for concept in concepts for name in concept.names]
    if request.replacement is not None and says(request.replacement, every):
        raise UserError(f"The replacement {request.replacement!r} says the concept itself: name something else.")
    if request.replacement is not None:
        for concept in concepts:
            check_replacement(request.replacement, concept.title, concept.kind, concept.names)
    check_kept(request.neighbours, "neighbour", concepts)
    return concepts


def _with_doubt_of_twins(concept: Concept, before: Sequence[Concept]) -> Concept:
    """The concept, with a doubt if one before it is the same by another number or name."""
    own = common_concept(concept.title)
    for other in before:
        if mentions(other.title).fullmatch(bare(concept.title)) or (own is not None and own == common_concept(other.title)):
            doubt = f"{concept.title!r} and {other.title!r} are the same concept: give it once."
            return replace(concept, doubts=(*concept.doubts, doubt))
    return concept


def _understand(title: str, request: ConceptRequest, prompts: PromptSet, near: Sequence[str]) -> Concept:
    choice = choose_kind(title, request.kind, request.attribute_of, known=tuple(prompts.names))
    common = common_concept(choice.concept, choice.kind)
    own = _own_names(choice.concept, choice.kind, common, prompts)
    given = tuple(filter(None, (" ".join(synonym.split()) for synonym in request.synonyms)))
    names = tuple(dict.fromkeys([*own[:1], *given, *own[1:], *known_names(choice.concept, choice.kind, prompts)]))
    proper = _proper_names(names, choice.kind, common)
    return Concept(
        title, choice.kind, choice.reason, choice.sure, names, _replacements(request, choice.kind, common, prompts, names),
        tuple(near) if near and not request.neighbours else _neighbours(request, choice, common, prompts, names),
        choice.of, proper, doubts(title, choice, request, common, prompts, known_neighbours=prompts.own or bool(near)),
        () if prompts.own else shown_by(choice.concept),
    )  # fmt: skip


def _own_names(concept: str, kind: ConceptKind, common: CommonConcept | None, prompts: PromptSet) -> list[str]:
    """The concept's own names: as the user wrote it, as it is usually written, and other ways to say it."""
    if kind == "style":
        return _style_names(concept, common, prompts)
    if kind in ("character", "person"):
        return _names_of_somebody(concept, common)
    if kind == "thing":
        return _names_of_thing(concept, common)
    also = common.also if common else ()
    if kind == "attribute":
        is_alias = plain_name(concept) in map(plain_name, also)
        return [concept, *_as_adjective(concept), *([common.name] if common and is_alias else []), *also]
    # "kissing passionately" is also said as "kissing".
    return [concept, *([common.name, *common.said] if common else []), *also]


def _names_of_somebody(concept: str, common: CommonConcept | None) -> list[str]:
    if common and common.kind == "person" and english.is_proper(common.name) and concept.lower().startswith(("a ", "an ")):
        concept = english.without_article(concept)
    if common and english.is_proper(english.without_article(common.name)):
        # "the Pope" has an article that "pope" lacks.
        own = [concept] if common.name[0].isupper() or concept != english.without_article(concept) else []
        return [*own, common.name, *common.also]
    if concept.islower() and not english.knows_word(concept.split()[0]) and not _is_somebody_unnamed(concept):
        return [concept, concept.title()]
    return [concept, *(common.also if common else ())]


def _names_of_thing(concept: str, common: CommonConcept | None) -> list[str]:
    if common is None:
        return [concept, *([english.singular(concept)] if english.is_plural(concept) else [])]
    called = {plain_name(name): name for name in (*common.also, common.name)}
    listed = called.get(plain_name(concept))
    if listed and listed != listed.lower():
        # A Ferrari and the Eiffel Tower have articles although they are names; Coca-Cola has none.
        if listed[0].isupper() and not common.name[0].isupper():
            # "Nike" is an alias of the Nike logo.
            return [common.name, *common.also]
        article = listed[: len(listed) - len(english.without_article(listed))]
        return [article + english.without_article(concept), listed, common.name, *common.also]
    if english.is_proper(concept) and common.name.islower() and concept.istitle():
        # Somebody began a line with a capital: "Ghost" is no proper name.
        concept = concept.lower()
    return [concept, *([english.singular(concept)] if english.is_plural(concept) else []), *common.also]


def _as_adjective(concept: str) -> list[str]:
    """ "red hair" is also said as "red-haired", and "beard" as "bearded"."""
    if alone := english.word_lists()["one_word_adjectives"].get(english.without_article(concept).lower()):
        return [alone]
    words, form = concept.split(), english.word_lists()["attribute_adjectives"].get(english.head(concept))
    described = len(words) == 2 and not english.DETERMINER.match(concept)
    return [f"{words[0]}-{form}"] if form and described else []


def _style_names(concept: str, common: CommonConcept | None, prompts: PromptSet) -> list[str]:
    own, known = bare(concept), [name for name in prompts.names if bare(name).lower() == bare(concept).lower()]
    if own != concept:
        usual = [] if common is None or prompts.own else _ways_to_say(own, common)
        return list(dict.fromkeys([concept, *usual]))
    if known:
        return [known[0]]
    lies_over = common_concept(english.head(own), "style") if common is None else None
    if lies_over and is_overlay(lies_over):
        return [lies_over.said[0].replace("{}", own)]
    if common is None and is_look(own):
        return [f"with {english.with_article(own)}"]
    if common is None:
        # "Jane Doe" is an artist, "solarpunk" a look.
        return [f"in the style of {own}" if english.is_proper(own) else as_style(f"{own} style")]
    return _ways_to_say(own, common)


def _ways_to_say(own: str, common: CommonConcept) -> list[str]:
    one = english.singular(own)
    if one != own and plain_name(one) in map(plain_name, (common.name, *common.also)):
        # "cartoons" are said as "in cartoon style".
        own = own if own in (common.name, *common.also) else one
    names = (own, common.name, *common.also)
    return list(dict.fromkeys(form.replace("{}", name) for name in names for form in common.said))


def _proper_names(names: Sequence[str], kind: ConceptKind, common: CommonConcept | None) -> tuple[str, ...]:
    """The names of characters and persons that are proper names; "a nurse" is a person and takes an article."""
    if kind not in ("character", "person"):
        return ()
    listed = common is not None and english.is_proper(english.without_article(common.name))
    return tuple(
        name
        for name in names
        if listed or not (_is_somebody_unnamed(name) or all(map(english.knows_word, (english.head(name), name.split()[0]))))
    )


def _is_somebody_unnamed(name: str) -> bool:
    """Whether it is a common noun for a person: "muslim woman", "anime girl"."""
    found = common_concept(english.head(name), "person")
    return name.islower() and found is not None and found.name.islower()


def _replacements(
    request: ConceptRequest, kind: ConceptKind, common: CommonConcept | None, prompts: PromptSet, names: Sequence[str]
) -> tuple[str, ...]:
    """The user's, then those of the kind that do not say the concept."""
    group = None if prompts.own else common.group if common else _class_of(names[0], kind)
    by_kind: dict[ConceptKind, list[str | None]] = {
        "thing": [EMPTY_SCENE, group], "character": [EMPTY_SCENE, group], "person": [group, A_PERSON, EMPTY_SCENE],
        "style": ["", None if prompts.own else _plain_style(common)],
        "attribute": ["", None if prompts.own else _another(common, names[0])],
        "act": [common.instead if common else CALM, CALM],
    }  # fmt: skip
    usual = [text for text in by_kind[kind] if text is not None and not (text and says(text, names))]
    given = [] if request.replacement is None else [_as_replacement(request.replacement, kind)]
    return tuple(dict.fromkeys([*given, *usual])) or (EMPTY_SCENE,)


def _plain_style(common: CommonConcept | None) -> str | None:
    """What a style becomes where the model draws it without being asked: what lies near it, if that is plain.

    Camera moves and what lies over a scene have nothing of the kind.
    """
    if common is None:
        return _PLAIN_STYLES[0]
    plain_itself = "realis" in common.name.lower()
    if plain_itself or not any(form.startswith(("as ", "like ")) or "style" in form for form in common.said):
        return None
    return next((near for near in common.neighbours if near in _PLAIN_STYLES), _PLAIN_STYLES[0])


def _another(common: CommonConcept | None, name: str) -> str | None:
    """What an attribute becomes where the model draws it without being asked: "black hair" of red hair."""
    if common is None and (like := with_same_noun(name, "attribute")):
        others = (other for other in like.neighbours if english.head(other) == english.head(name))
        return next((other for other in others if not says(other, [name])), None)
    if common is None:
        return _class_of(name, "attribute")
    return None if english.is_adjective(common.name) else common.neighbours[0]


def _class_of(concept: str, kind: ConceptKind) -> str | None:
    """What a concept that the table lacks is one of, if its noun is there: "a cat" for a grumpy cat, "a hat" for a red hat."""
    noun = english.head(concept)
    found = common_concept(noun, kind) if kind in ("thing", "attribute") and noun != bare(concept).lower() else None
    return english.with_article(found.name) if found else None


def _as_replacement(words: str, kind: ConceptKind) -> str:
    """The user's words as they stand in a sentence: "robot" becomes "a robot", "nothing" what the kind has for it."""
    if words.lower() in NOTHING:
        return EMPTY_SCENE if kind in SUBJECT_KINDS else ""
    if kind in ("thing", "character", "person"):
        return english.with_article(words)
    return as_style(words) if kind == "style" and words else words


def _neighbours(
    request: ConceptRequest, choice: KindChoice, common: CommonConcept | None, prompts: PromptSet, names: Sequence[str]
) -> tuple[str, ...]:
    """The user's; else those of the model's own language, else those of the table, of its general words without an entry."""
    kind, of = choice.kind, choice.of
    if request.neighbours:
        return request.neighbours
    if prompts.own:
        others = [
            name
            for name in prompts.names
            if (choose_kind(name, known=tuple(prompts.names)).kind == "style") == (kind == "style")
        ]
        return tuple(name for name in others if not says(name, names))
    if kind == "attribute" and of and not _is_somebody(of) and (common is None or common.of != of):
        near = _OF_THINGS
    else:
        near = common.neighbours if common else _general_neighbours(kind, names)
    same = (*names, *same_concept(choice.concept))
    return tuple(dict.fromkeys(name for name in near if not says(name, same)))


_OF_THINGS: tuple[str, ...] = ("stripes", "dots", "a ribbon", "a sticker")
"""Neighbours of an attribute of something other than a person."""
_GENERAL: dict[ConceptKind, tuple[str, ...]] = {
    "thing": ("dog", "car", "chair", "tree"),
    "character": ("a puppet", "a cartoon dog", "a knight", "a robot"),
    "person": ("a man in a suit", "a woman", "an old man", "a singer"),
    "style": ("in realistic style", "as a photograph", "as an oil painting", "in cartoon style"),
    "attribute": ("a hat", "a coat", "a smile", "a bag"),
    "act": ("walking", "talking", "sitting on a chair", "reading a book"),
}


def _is_somebody(of: str) -> bool:
    known = common_concept(of)
    return of == A_PERSON or (known is not None and known.kind in ("character", "person"))


def _general_neighbours(kind: ConceptKind, names: Sequence[str]) -> tuple[str, ...]:
    """The noun that the name is about and its neighbours, else some of the kind.

    Of hair that the table lacks, what lies near other hair. Not the noun of an act: violence is nothing to keep where gun
    violence goes. What lies near people in general is no neighbour of some people.
    """
    noun = english.head(names[0])
    if kind == "attribute" and (like := with_same_noun(names[0], kind)):
        return like.neighbours
    found = common_concept(noun, kind)
    if found is None or " and " in names[0]:
        held = object_neighbours(names[0]) if kind == "act" else ()
        return (*held, *(near for near in _GENERAL[kind] if not says(names[0], [near])))
    if kind == "person":
        return (noun, *(near for near in _GENERAL[kind] if english.without_article(near) != noun))
    return found.neighbours if kind in ("act", "style") else (noun, *found.neighbours)


def said_alone(concept: Concept) -> list[str]:
    """The concept's names as they stand in a sentence next to a second subject; of an act those that a person can do."""
    names = [name for name in concept.names if concept.kind != "act" or does(name)] or list(concept.names)
    return [concept.wording(name).spoken for name in names]
