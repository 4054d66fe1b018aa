"""What a concept is: a thing, a character, a person, a style, an attribute or an act, and why we take it for that."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from t2vu_core.errors import UserError
from t2vu_core.mentions import STYLE_ENDS, STYLE_STARTS, bare, says
from t2vu_core.prompts import english
from t2vu_core.prompts.common_concepts import CommonConcept, ConceptKind, common_concept

KINDS: tuple[ConceptKind, ...] = get_args(ConceptKind)
AskedKind = Literal["auto", "thing", "character", "person", "style", "attribute", "act"]
ASKED_KINDS: tuple[AskedKind, ...] = get_args(AskedKind)
OLD_KINDS = {"manner": "style"}
"""Kinds of version 0.2, and what they are called now."""
WITH = ("with ",)
_OWNED = re.compile(r"(?P<whole>.+?)['’]s\s(?P<part>.+)")
_HAVING = re.compile(r"(?:in|with|wearing)\s(?:an?\s)?(?P<what>.+)", re.IGNORECASE)
_LIKENESS = r"(?:face|likeness|portrait|appearance)"
_LIKENESS_OF = re.compile(rf"(?:(?:the|an?)\s)?{_LIKENESS}\sof\s(?P<of>.+)|(?P<owner>.+?)['’]s?\s{_LIKENESS}", re.IGNORECASE)
_STYLE_OF = re.compile(r"(?:the\s)?(?P<what>style|manner|look|art|works?|paintings?|drawings?|films?)\s(?:of|by)\s(?P<of>.+)",
                       re.IGNORECASE)  # fmt: skip
_LOOK = re.compile(r"(?P<style>.+?)\s(?P<look>looks?|aesthetics?|vibes?|tones?|filters?|effects?)", re.IGNORECASE)
_DECADE = re.compile(r"(?:the\s)?(?:\d\d)?\d0['’]?s", re.IGNORECASE)
_FROM_A_WORK = re.compile(r"(?P<name>.+?)\sfrom\s(?P<work>.+)", re.IGNORECASE)
_WORK_IN = re.compile(
    r"(?P<style>.+?)\s(?:paintings?|drawings?|artworks?|art|illustrations?|films?|movies?|animations?|prints?)", re.IGNORECASE
)
_WHOSE = re.compile(r"(?:my|our|his|her|their|your)\s(?:[a-z][a-z'’-]*\s)+(?P<name>[A-Z].*)")
_SOMEBODYS = re.compile(r"(?:my|our|his|her|their|your)\s(?P<who>.+)", re.IGNORECASE)
_ON_SOMETHING = re.compile(r"(?P<part>.+?)\s(?:on|of)\s(?P<whole>(?:an?|the)\s.+)", re.IGNORECASE)


@dataclass(frozen=True)
class KindChoice:
    """The kind of a concept, why, whether we are sure, and what an attribute belongs to."""

    kind: ConceptKind
    reason: str
    sure: bool = True
    concept: str = ""
    """The concept's words without what it belongs to: "logo" of "logo on a shirt"."""
    of: str | None = None


def asked_kind(name: str) -> AskedKind:
    """The kind that a user, an old file or an old graph names. Raises UserError if there is none of that name."""
    name = OLD_KINDS.get(name, name)
    if name not in ASKED_KINDS:
        raise UserError(f"There is no kind of concept {name!r}; choose one of {', '.join(ASKED_KINDS)}.")
    return name


def choose_kind(concept: str, asked: AskedKind = "auto", of: str | None = None, known: Sequence[str] = ()) -> KindChoice:
    """The kind of a concept: as asked, or what its words say. `known` are the names of a model's own prompt set.

    Raises UserError if `of` is given for a concept that is asked to be anything but an attribute, or says the concept itself.
    """
    if of is not None and says(of, [concept]):
        raise UserError(f"{of!r} is what an attribute belongs to, and says {concept!r} itself: name what has it.")
    if of is not None and asked not in ("auto", "attribute"):
        raise UserError(
            f"{of!r} is what an attribute belongs to, but {concept!r} is asked to be of the kind {asked}: "
            "leave it out, or choose the kind attribute."
        )
    if asked == "attribute" or of is not None:
        return _attribute(concept, of, "asked for" if asked == "attribute" else f"it belongs to {of!r}")
    if asked != "auto":
        return KindChoice(asked, "asked for", concept=concept)
    for rule in _RULES:
        if found := rule(concept, known):
            return found
    reason = "no rule knows these words" if concept.isascii() else "its words are not English, as the contexts are"
    return KindChoice("thing", reason, sure=False, concept=concept)


def is_style(concept: str) -> bool:
    """Whether the words themselves say in which way something is shown: "in noir", "like an old photo", "noir style"."""
    lowered = concept.lower()
    ends = lowered.endswith(STYLE_ENDS) and not bare(lowered).endswith(STYLE_ENDS)
    return (lowered.startswith(STYLE_STARTS) and not lowered.startswith(WITH)) or ends


def is_look(name: str) -> bool:
    """Whether a style that the table lacks is named as a look: "AI look", "dark academia aesthetic"."""
    split = _LOOK.fullmatch(name)
    return split is not None and split["look"].lower().startswith(("look", "aesthetic", "vibe"))


def is_overlay(common: CommonConcept) -> bool:
    """Whether it lies over a scene: "with a watermark", "with film grain"."""
    return common.kind == "style" and common.said[0].startswith(WITH)


def _attribute(concept: str, of: str | None, reason: str) -> KindChoice:
    """An attribute of `of`, of what its words name, or of what the table says; of a person if nothing does."""
    split = None if of else _ON_SOMETHING.fullmatch(concept)
    own, whole = (split["part"], split["whole"]) if split else (concept, of)
    if whole is None:
        known = common_concept(own, "attribute")
        whole = known.of if known else english.word_lists()["attribute_heads"].get(english.head(own))
    if whole is None:
        return KindChoice("attribute", f"{reason}; what it belongs to is not said", sure=False, concept=own, of="a person")
    return KindChoice("attribute", reason, concept=own, of=english.with_article(whole))


def _own_set(concept: str, known: Sequence[str]) -> KindChoice | None:
    """A concept of the model's own prompt set."""
    own = bare(concept).lower()
    names = [name for name in known if set(own.split()) <= set(bare(name).lower().split())]
    exact = [name for name in names if bare(name).lower() == own]
    for name in exact or names:
        # A longer name only tells the kind of a style: "sketch" is "in pencil sketch style".
        if is_style(name) or exact:
            return KindChoice("style" if is_style(name) else "thing", f"the model's own prompts know {name!r}", concept=concept)
    return None


def in_own_set(concept: str, known: Sequence[str]) -> bool:
    """Whether these names of a model's own prompts say the concept, or contain it."""
    return bool(_own_set(concept, known)) or any(says(name, [concept]) or says(concept, [name]) for name in known)


def _style_words(concept: str, known: Sequence[str]) -> KindChoice | None:
    reason = "its words say how something is shown"
    if is_style(concept):
        return KindChoice("style", reason, concept=concept)
    if _DECADE.fullmatch(concept):
        return KindChoice("style", "it is a decade, which says how something is shown", concept=concept)
    split = _STYLE_OF.fullmatch(concept)
    if split and (split["what"].lower() in ("style", "manner") or common_concept(split["of"], "style")):
        return KindChoice("style", reason, concept=split["of"])
    return None


def _look(concept: str, known: Sequence[str]) -> KindChoice | None:
    """ "sepia tone" and "VHS look" are the style, "AI look" is one that the table lacks; an oil filter is a thing."""
    split = _LOOK.fullmatch(english.without_article(concept))
    if split is None:
        return None
    listed = common_concept(split["style"], "style")
    if listed and split["style"].lower() not in english.mass_nouns():
        return KindChoice("style", f"it is how {listed.name!r} looks", concept=split["style"])
    if is_look(split.string):
        return KindChoice("style", "its words say how something is shown", concept=split.string)
    return None


def _with_something(concept: str, known: Sequence[str]) -> KindChoice | None:
    """ "with glasses" is an attribute, "with a vintage look" a style."""
    if not concept.lower().startswith(WITH):
        return None
    found = common_concept(concept, "attribute")
    return (
        _attribute(bare(concept), None, "it is something that a person has")
        if found
        else KindChoice("style", "its words say how something is shown", concept=concept)
    )


def _table(concept: str, known: Sequence[str]) -> KindChoice | None:
    found = common_concept(concept)
    if found is None:
        return None
    reason = f"the table of common concepts has {found.name!r}"
    if found.kind == "attribute" or _is_worn(concept, found):
        return _attribute(concept, None, reason)
    # "joker" may be the character or a card, "Robin" somebody or a bird.
    word = len(concept.split()) == 1 and english.is_proper(found.name)
    doubtful = concept.islower() or common_concept(concept.lower()) != found
    sure = not (word and doubtful and found.kind != "style" and english.knows_word(concept))
    return KindChoice(found.kind, reason, sure, concept)


def _is_worn(concept: str, found: CommonConcept) -> bool:
    """Whether it is a piece of clothing, which is shown on somebody who wears it."""
    return (
        found.kind == "thing"
        and english.head(concept) in english.word_lists()["worn"]
        and common_concept(english.head(concept), "attribute") is not None
    )


def _somebody_unnamed(concept: str, known: Sequence[str]) -> KindChoice | None:
    """ "my daughter" is a person; no model knows which."""
    split = _SOMEBODYS.fullmatch(concept)
    if split is None or not common_concept(english.head(split["who"]), "person"):
        return None
    return KindChoice("person", "it is a person without a name, whom no model knows", sure=False, concept=concept)


def _from_a_work(concept: str, known: Sequence[str]) -> KindChoice | None:
    """ "Elsa from Frozen" is Elsa."""
    split = _FROM_A_WORK.fullmatch(concept)
    listed = common_concept(split["name"], "character") if split else None
    if split is None or listed is None or not english.is_proper(split["work"]):
        return None
    return KindChoice("character", f"the table of common concepts has {listed.name!r}", concept=split["name"])


def _named_somebody(concept: str, known: Sequence[str]) -> KindChoice | None:
    """ "Taylor Swift singing" and "my neighbour Anna Schmidt" are the person of that name."""
    words = concept.split()
    acts = [place for place, word in enumerate(words) if place and word.islower() and english.is_gerund(word)]
    name = " ".join(words[: acts[0]]) if acts else concept
    if found := _WHOSE.fullmatch(name):
        name = found["name"]
    listed = common_concept(name)
    first = name.split()[0].lower() in english.word_lists()["first_names"]
    if name == concept or not english.is_proper(name) or not (first or (listed and listed.kind in ("person", "character"))):
        return None
    kind: ConceptKind = listed.kind if listed and listed.kind == "character" else "person"
    return KindChoice(kind, f"it names {name!r}", sure=False, concept=name)


def _likeness(concept: str, known: Sequence[str]) -> KindChoice | None:
    """ "the face of Taylor Swift" and "Obama's face" are the person: a face cannot go alone."""
    split = _LIKENESS_OF.fullmatch(concept)
    name = (split["of"] or split["owner"]) if split else ""
    listed = common_concept(name) if name else None
    somebody = listed is not None and listed.kind in ("person", "character") and english.is_proper(listed.name)
    if not somebody and not english.is_proper(name):
        return None
    kind: ConceptKind = "character" if somebody and listed and listed.kind == "character" else "person"
    return KindChoice(kind, f"it is how {name!r} looks", somebody, name)


def _work_in_a_style(concept: str, known: Sequence[str]) -> KindChoice | None:
    """ "a Van Gogh painting" is the style of Van Gogh."""
    split = _WORK_IN.fullmatch(english.without_article(concept))
    if split is None or not common_concept(split["style"], "style"):
        return None
    return KindChoice("style", f"it is a work in the style {split['style']!r}", concept=split["style"])


def _owned(concept: str, known: Sequence[str]) -> KindChoice | None:
    """ "Superman's cape" is an attribute of Superman."""
    split = _OWNED.fullmatch(concept)
    owner = common_concept(split["whole"]) if split else None
    if split is None or owner is None or owner.kind not in ("thing", "character", "person"):
        return None
    whole = split["whole"] if english.is_proper(split["whole"]) else english.without_article(split["whole"])
    return _attribute(split["part"], whole, f"it belongs to {whole!r}")


def _somebody_with(concept: str, known: Sequence[str]) -> KindChoice | None:
    """ "naked woman" is nudity, "person smoking" and "smoking person" are smoking: the person stays."""
    words = english.without_article(concept).split()
    for noun, phrase in ((words[-1], " ".join(words[:-1])), (words[0], " ".join(words[1:]))):
        shown = noun.lower() in english.word_lists()["shown_as"]
        if not phrase or not (shown or common_concept(noun, "person")) or english.is_proper(noun):
            continue
        act, attribute = common_concept(phrase, "act"), common_concept(phrase.removeprefix("wearing "), "attribute")
        # A "crying baby" is a baby; a "smoking woman" is anybody who smokes.
        anybody = shown or english.singular(noun.lower()) in english.word_lists()["anybody"]
        adjective = english.is_adjective(phrase) or (anybody and english.is_gerund(phrase))
        if (act and (adjective or noun == words[0])) or (noun == words[0] and english.is_gerund(phrase)):
            return KindChoice("act", f"{phrase!r} is what a person is or does", concept=_with_object(phrase))
        if attribute and adjective:
            return _attribute(phrase, english.singular(noun), f"{phrase!r} is what a person is")
        if attribute and noun == words[0] and (had := _HAVING.fullmatch(phrase)):
            return _attribute(had["what"], english.singular(noun), f"{had['what']!r} is what a person has")
        if noun == words[0] and anybody and not shown and phrase.startswith(WITH) and common_concept(bare(phrase), "thing"):
            return _attribute(bare(phrase), english.singular(noun), f"{bare(phrase)!r} is what a person has")
    return None


def _with_object(act: str) -> str:
    """ "hitting woman" is said as "hitting a woman"."""
    doing, _, noun = act.partition(" ")
    return f"{doing} {english.with_article(noun)}" if common_concept(noun, "person") and english.is_gerund(act) else act


def _part_of_something(concept: str, known: Sequence[str]) -> KindChoice | None:
    split, heads = _ON_SOMETHING.fullmatch(concept), english.word_lists()["attribute_heads"]
    noun = english.head(split["part"]) if split else ""
    if split and (common_concept(split["part"], "attribute") or common_concept(noun, "attribute") or noun in heads):
        return _attribute(concept, None, f"it is a part of {split['whole']!r}")
    if english.head(concept) in heads:
        found = _attribute(concept, None, f"{english.head(concept)!r} belongs to a person")
        if not _SOMEBODYS.match(concept):
            return found
        return replace(found, reason=f"{found.reason}, whom no model knows without a name", sure=False)
    return None


def _act_words(concept: str, known: Sequence[str]) -> KindChoice | None:
    return KindChoice("act", "it is what somebody does", concept=concept) if english.is_gerund(concept) else None


def _longer_name(concept: str, known: Sequence[str]) -> KindChoice | None:
    """ "vintage sports car" is a car, "violence against women" is violence, a "Getty Images watermark" lies over a scene.

    "Megan Fox" is no fox.
    """
    noun = english.head(concept)
    if english.is_proper(concept) and concept.split()[0].lower() in english.word_lists()["first_names"]:
        return None
    found = common_concept(noun) if noun != concept.lower() else None
    if found is not None and is_overlay(found):
        return KindChoice("style", f"{found.name!r} lies over a whole scene, as a style does", concept=concept)
    if found is None or found.kind not in (("thing",) if english.is_proper(concept) else ("thing", "person", "act")):
        return None
    if _is_worn(concept, found):
        return _attribute(concept, "a person", f"it is a kind of {found.name!r}, which a person wears")
    return KindChoice(found.kind, f"it is a kind of {found.name!r}", concept=concept)


def _proper_name(concept: str, known: Sequence[str]) -> KindChoice | None:
    """A name that the table lacks."""
    words, proper = concept.split(), english.is_proper(concept)
    if len(words) > 1 and words[0].lower() in english.word_lists()["first_names"]:
        sure = proper or not any(map(english.knows_word, words[1:]))
        return KindChoice("person", f"{words[0]!r} is a first name", sure, concept)
    if not proper or (len(words) == 1 and english.knows_word(concept)):
        return None
    if words[0].lower() in english.word_lists()["first_names"]:
        return KindChoice("person", f"{words[0]!r} is a first name", sure=False, concept=concept)
    if any(map(str.isdigit, concept)):
        return KindChoice("thing", "it is written as the name of a product", sure=False, concept=concept)
    kind: ConceptKind = "person" if len(words) in (2, 3) else "character"
    return KindChoice(kind, "it is written as a proper name", sure=False, concept=concept)


def _lexicon(concept: str, known: Sequence[str]) -> KindChoice | None:
    parts = english.parts_of_speech(english.head(concept))
    if "NOUN" in parts:
        also_adjective = len(concept.split()) == 1 and "ADJ" in parts
        # A noun may also be a style ("motion blur") or an act ("hate speech").
        return KindChoice(
            "thing", "it is a noun and an adjective" if also_adjective else "it is a noun", sure=False, concept=concept
        )
    return _attribute(concept, None, "it is an adjective") if "ADJ" in parts or english.is_adjective(concept) else None


_RULES: tuple[Callable[[str, Sequence[str]], KindChoice | None], ...] = (
    _own_set, _style_words, _with_something, _table, _look, _likeness, _work_in_a_style, _from_a_work, _named_somebody,
    _somebody_unnamed, _owned, _somebody_with, _part_of_something, _act_words, _longer_name, _proper_name, _lexicon,
)  # fmt: skip
