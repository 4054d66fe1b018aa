"""How a concept of each kind is said in a context, and what the sentence becomes without it.

A context has slots. `{}` is the concept (of an attribute: what it belongs to, with it), `{the}` a later mention of it,
`{a}` an adjective with its article (of a style), `{a woman}` somebody who does the act and `{scene}` a scene with it, and
`[walks]` a verb that agrees with the concept. After " => " stands what remains where the concept leaves the scene empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from t2vu_core.mentions import STYLE_STARTS, bare
from t2vu_core.prompts import english
from t2vu_core.prompts.common_concepts import ConceptKind, common_concept
from t2vu_core.prompts.pairs import PromptPair, tidy
from t2vu_core.prompts.two_subjects import alone, has_two_subjects

EMPTY_SCENE = "an empty scene"
"""Replaces a thing or character that leaves the scene."""
EMPTY_AGAIN = "it"
A_PERSON = "a person"
PEOPLE = ("a woman", "a man", "an old woman", "a young woman", "an old man")
"""Who has an attribute that a person has."""
PICTURES = ("painting", "drawing", "sketch", "photo", "photograph", "picture", "print", "film", "video", "render")
"""Nouns that are a picture already: there is no "oil painting picture"."""
SUBJECT_KINDS: tuple[ConceptKind, ...] = ("thing", "character", "person")
"""Kinds that stand in a sentence as a noun."""
_SLOT = re.compile(r"\{(?P<slot>[^{}]*)\}|\[(?P<verb>[a-z]+)\]")
_EMPTY = " => "
_AFTER_PARTICIPLE = ("in", "with", "by", "up", "on", "from", "as", "to", "away", "behind", "at", "under", "off", "over")
_AFTER_NOUN = ("asleep", "awake", "alone", "alive")


@dataclass(frozen=True)
class Wording:
    """What one concept is called here, and what stands in its place."""

    kind: ConceptKind
    name: str
    replacement: str
    of: str | None = None
    proper: bool = False
    """Whether the name takes no article although it is written without a capital: "abraham lincoln"."""

    def fill(self, context: str) -> PromptPair:
        """The context with the concept, and without it."""
        if self.of == A_PERSON:
            # The same context always has the same person.
            return replace(self, of=PEOPLE[len(context) % len(PEOPLE)]).fill(context)
        text, _, empty = context.partition(_EMPTY)
        pair = PromptPair(tidy(_SLOT.sub(self._said, text)), self._without(text, empty))
        return PromptPair(_sentence(pair.prompt), _sentence(pair.neutral)) if _starts_sentence(text) else pair

    def fits(self, context: str) -> bool:
        """Whether the name can be said there: "nudity" is nothing that a person does, and a watermark no kind of picture."""
        if self.kind == "style" and "{a}" in context:
            return not self.name.lower().startswith("with ") and english.head(bare(self.name)) not in PICTURES
        return self.kind != "act" or does(self.name) or "{scene}" in context

    @property
    def spoken(self) -> str:
        """The concept as a prompt of its own: "a ghost", "in noir style", "a person with red hair", "a person smoking"."""
        return self.fill("{a person}" if self.kind == "act" else "{}").prompt

    def again(self, said: str) -> str:
        """How the concept is mentioned after the first time."""
        return said if self.proper else english.definite(said)

    def _is_plural(self, said: str) -> bool:
        """Whether verbs after the concept are plural; of an attribute those after what has it."""
        if self.kind == "attribute":
            return english.is_plural(self.of or A_PERSON)
        return are_several(said) if self.proper else english.is_plural(said)

    def _without(self, text: str, empty: str) -> str:
        leaves = self.kind in SUBJECT_KINDS and self.replacement == EMPTY_SCENE
        if empty and (leaves or (self.kind == "style" and not self.replacement)):
            return empty
        if leaves and has_two_subjects(text):
            return tidy(_SLOT.sub("", alone(text)))
        return tidy(_SLOT.sub(self._instead, text))

    def _said(self, found: re.Match[str]) -> str:
        slot, verb = found["slot"], found["verb"]
        said = self.name if self.proper else english.with_article(self.name)
        if verb is not None:
            return english.agree(verb, self._is_plural(said))
        if self.kind in SUBJECT_KINDS:
            return _cased(slot, self.again(said) if slot.lower() == "the" else said)
        if self.kind == "style":
            return english.indefinite(bare(self.name)) if slot == "a" else as_style(self.name)
        if self.kind == "attribute":
            return attached(self.of or A_PERSON, self.name, "attribute")
        return _act_slot(slot, lambda who: attached(who, self.name, "act"), self.name)

    def _instead(self, found: re.Match[str]) -> str:
        slot, verb = found["slot"], found["verb"]
        if verb is not None:
            return english.agree(verb, english.is_plural(self.of or A_PERSON if self.kind == "attribute" else self.replacement))
        if self.kind in SUBJECT_KINDS:
            again = EMPTY_AGAIN if self.replacement == EMPTY_SCENE else english.definite(self.replacement)
            return _cased(slot, again if slot.lower() == "the" else self.replacement)
        if self.kind == "style":
            return "a" if slot == "a" else as_style(self.replacement) if self.replacement else ""
        if self.kind == "attribute":
            return attached(self.of or A_PERSON, self.replacement, "attribute")
        return _act_slot(slot, lambda who: attached(who, self.replacement, "act"), "")


def are_several(name: str) -> bool:
    """Whether a proper name is that of several: "Tom and Jerry" and "Minions", but not "Bill Gates"."""
    words = english.without_article(name).lower()
    if " and " in words or " & " in words:
        return True
    listed = common_concept(name)
    if listed is not None and listed.kind in ("character", "person"):
        return words.endswith("s") and listed.group is not None and english.is_plural(listed.group)
    return words.split()[0] not in english.word_lists()["first_names"] and english.is_plural(name)


def as_style(name: str) -> str:
    """ "pixel art style" -> "in pixel art style"; words that say so already are not changed."""
    return name if name.lower().startswith(STYLE_STARTS) else f"in {name}"


def attached(subject: str, phrase: str, kind: ConceptKind) -> str:
    """The subject with what it does or has: "a man smoking", "a nude woman", "with red hair", "wearing a red dress"."""
    if not phrase:
        return subject
    if english.is_adjective(phrase) and phrase not in _AFTER_NOUN and not (kind == "attribute" and _is_thing(phrase)):
        return english.with_adjective(subject, phrase)
    worn = english.head(phrase) in english.word_lists()["worn"] and (not stands_after(phrase) or _is_described(phrase))
    if kind == "attribute" and worn:
        return f"{subject} wearing {english.with_article(phrase)}"
    if stands_after(phrase) and not (kind == "attribute" and _is_only_noun(phrase)):
        return f"{subject} {phrase}"
    if kind == "attribute":
        return f"{subject} with {english.with_article(phrase)}"
    return f"{subject} in a scene with {english.with_article(phrase)}"


def stands_after(phrase: str) -> bool:
    """Whether the phrase can follow a noun as it is: "smoking", "covered in blood", "with a beard", "asleep"."""
    first, *rest = phrase.lower().split()
    participle = english.is_participle(first) and (not rest or rest[0] in _AFTER_PARTICIPLE)
    preposition = first in ("with", "without", "in", "on", "at", "under", "wearing", "holding")
    return phrase in _AFTER_NOUN or english.is_gerund(phrase) or first.endswith("ing") or participle or preposition


def _is_described(phrase: str) -> bool:
    """Whether the first word is a verb's form that describes the noun: "wedding dress", but not "wearing a dress"."""
    first = phrase.lower().split()[0]
    return first.endswith("ing") and first != "wearing" and not english.is_gerund(phrase)


def does(phrase: str) -> bool:
    """Whether a person can do or be it: "smoking", "nude"; "nudity" is a noun."""
    return stands_after(phrase) or english.is_adjective(phrase)


def _starts_sentence(context: str) -> bool:
    """Whether the concept is the first word of several sentences."""
    return context.startswith("{") and ". " in context


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _is_only_noun(phrase: str) -> bool:
    """Whether the phrase is a thing that somebody has although it ends as a verb does: "earring", "piercing"."""
    return len(phrase.split()) == 1 and _is_noun(phrase) and not english.is_gerund(phrase)


def _is_thing(phrase: str) -> bool:
    """Whether something has it rather than is it: "gold" is a thing, "pregnant" and "red" are none, although all are nouns."""
    return _is_noun(phrase) and phrase not in english.word_lists()["adjectives"] and not english.has_comparative(phrase)


def _is_noun(phrase: str) -> bool:
    return "NOUN" in english.parts_of_speech(english.head(phrase))


def _act_slot(slot: str, with_act: Callable[[str], str], noun: str) -> str:
    """Somebody who does it, or a scene in which it happens."""
    if slot.lower() != "scene":
        return _cased(slot, with_act(slot[:1].lower() + slot[1:] if slot else "a person"))
    if noun and not does(noun):
        return f"a scene with {english.with_article(noun)}"
    return f"a scene with {with_act('a person')}"


def _cased(slot: str, words: str) -> str:
    """The words with a capital if the slot has one."""
    return words[:1].upper() + words[1:] if slot[:1].isupper() else words
