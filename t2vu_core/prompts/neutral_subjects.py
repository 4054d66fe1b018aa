"""A given prompt without a thing, character or person: with what replaces it, or without it and what it does.

Mentions become marks first: GAP for one, GAPS for several. Where the concept leaves the scene, its verbs leave with it:
"a ghost flies over a lake" becomes "a lake", and "a ghost waves at night" "an empty scene at night".
"""

from __future__ import annotations

import re

from t2vu_core.prompts import english
from t2vu_core.prompts.actions import after_actions
from t2vu_core.prompts.clauses import agreeing, has_verb, is_broken, plural_acts_later, without_clauses_of
from t2vu_core.prompts.common_concepts import common_concept
from t2vu_core.prompts.compounds import without_compounds
from t2vu_core.prompts.concept import Concept
from t2vu_core.prompts.denials import without_denials
from t2vu_core.prompts.finished import is_dangling
from t2vu_core.prompts.pairs import tidy
from t2vu_core.prompts.subject_marks import ANY, DETERMINER, GAP, GAPS, NEAR, WORDS, mark_subjects
from t2vu_core.prompts.wording import EMPTY_SCENE

SOMETHING = "something"
"""Replaces the object of a sentence if nothing better is known."""
_BESIDE = r"(?:together with|along with|with|next to|beside|behind|near|in front of|alongside)"
_PICTURE = (
    r"(?:shot|video|clip|footage|close-?up|portrait|picture|photo|photograph|image|render|rendering|animation|painting|drawing|"
    r"illustration|sketch|view|scene|film|movie|time-?lapse|recording|pan|zoom|frame)s?"
)
_FOLLOWS = rf"(?:camera|view|drone|{_PICTURE}) follows?"
_OPENING = re.compile(
    rf"(?:^|\b(?:{_PICTURE} of|shows?|(?:we|you|camera) sees?|features?|opens on|{_FOLLOWS}|there (?:is|are))\s"
    r"|[.:(\[{\"“'|,]\s*)$",
    re.IGNORECASE,
)
"""Before the first subject of a sentence."""
_OBJECT_OF = re.compile(
    r"\b(?:of|in|on|at|by|from|for|to|into|onto|like|about|over|under|behind|near|inside|through|around|against|between|out of|"
    r"as|which|that|whose|if|how|why|because)\s*$",
    re.IGNORECASE,
)
"""Before what is not the subject of the verb that follows: "dressed as Spider-Man eats"."""
HELD = r"(?:\s+(?:in|on|at|around|over)\s+(?:its|his|her|their|one|both|each)\s+[^\W\d_]+|\s+on\s+(?:it|them|top)\b)?"
"""Where somebody has it: "with a cigarette in her hand"."""
_JOINED = re.compile(rf"{ANY}\s*(?:\band\s+(?=[\w(])|,\s*(?={DETERMINER.pattern}\s))", re.IGNORECASE)
_OWN_PLURALS = "sheep|deer|fish|people|children|men|women|mice|geese"
_LIST_ITEM = rf"(?:{DETERMINER.pattern}\s+[\w-]+|(?-i:[A-Z])[\w-]*(?:\s+(?-i:[A-Z])[\w-]*)?|[\w-]+s|{_OWN_PLURALS})"
_LIST_START = rf"(?P<start>(?:^|(?<=[.!?:]\s)|\b{_PICTURE}\s+of\s)\s*"
_LIST_ITEMS = rf"{_LIST_ITEM}(?:\s*,\s*{_LIST_ITEM})*"
_FIRST_OF_THREE = re.compile(rf"{_LIST_START}){ANY}\s*,\s*(?P<item>{_LIST_ITEM})\s*,\s+and\s+(?={_LIST_ITEM})", re.IGNORECASE)
_FIRST_OF_LIST = re.compile(rf"{_LIST_START}){ANY}\s*,\s*(?={_LIST_ITEMS}\s*,?\s+and\s+{_LIST_ITEM})", re.IGNORECASE)
_WITHIN_LIST = re.compile(rf"{_LIST_START}{_LIST_ITEMS})\s*,\s*{ANY}\s*,?(?=\s+and\s)", re.IGNORECASE)
_LAST_OF_LIST = re.compile(rf"{_LIST_START}{_LIST_ITEMS})\s*,\s*(?P<item>{_LIST_ITEM})\s*,?\s+and\s+{ANY}(?!\w)", re.IGNORECASE)
_ITS_PART = re.compile(rf"(?P<gap>{ANY})\s+and\s+(?:its|his|her|their)\s+[^\W\d_]+", re.IGNORECASE)
_OF_SOMEBODY = re.compile(rf"(?P<gap>{ANY})\s+of\s+{DETERMINER.pattern}\s+[^\W\d_]+", re.IGNORECASE)
_STATE = re.compile(
    rf"(?<=\w),?\s+(?:(?:covered|filled|shrouded|soaked|drenched|stained|engulfed|surrounded|hidden)\s+)?"
    rf"(?:on|in|with|by|under)\s+{ANY}{HELD}"
)
""" "on fire" and "covered in snow" go as a whole."""
_IN_STATE = re.compile(
    rf"\s+(?:is|are|was|were)(?:\s+(?:all|now|still|completely))?{_STATE.pattern}(?=\s*[.,;!?]|\s*$|\s+and\b)(?P<and>\s+and\b)?",
    re.IGNORECASE,
)
_SCENE_IN = re.compile(
    rf"(?<!there is )(?<!there are ){EMPTY_SCENE}\s+(?:in|on|at|inside|upon|before|within|atop|outside)\s+"
    rf"(?=(?-i:[A-Z][a-z])|{DETERMINER.pattern}\s+(?!(?:style|manner|middle|center|centre|distance|dark|darkness|foreground|background|corner|end|"
    r"top|bottom|left|right|side|front|back|morning|evening|afternoon|night|wind|air|sun|shape|form|way|time|moment)"
    r"(?:\s+(?:of|at|in|on|with|while|as|and)\b|\s*(?:[.,;!?]|$)))\w)",
    re.IGNORECASE,
)
_ON_FIRE = re.compile(rf"({EMPTY_SCENE})\s+(?:on fire|in flames)\b", re.IGNORECASE)
_PERSONAL = re.compile(r"\b(?:he|she|him|her|his|himself|herself)\b", re.IGNORECASE)
_LED_BY = re.compile(
    r"(?:^|(?<=[.!?]\s))(?:(?:together\s+)?with|inside|in front of|in|on|at|under|behind|near|next to|from|above|beneath)\s+"
    rf"{ANY},\s*(?=\w)",
    re.IGNORECASE,
)
""" "Inside a car, a couple argues"."""
_LED_IN = re.compile(
    r"(?:every|each|one|at|in|on|during|by|late|early|last|that|today|tonight|this)\s[^,.;:]*\s", re.IGNORECASE
)
""" "Every night the ghost ..." """
_SUDDENLY = re.compile(
    rf"(?:^|(?<=[.!?]\s))(?:suddenly|then|now|slowly|meanwhile|finally|later|eventually|again),?\s+(?={ANY})", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_PRONOUN_DOES = re.compile(r"(?:it|they|he|she)\s+(?!is\b|was\b)", re.IGNORECASE)


def without_subject(text: str, concept: Concept) -> str:
    """The text with what replaces the concept in its place."""
    for name in sorted(concept.names, key=len, reverse=True):
        text = without_compounds(without_denials(text, name), name)
        text = mark_subjects(_without_adjective(text, name), concept, name)
    if not re.search(ANY, text):
        return text
    if concept.replacement != EMPTY_SCENE:
        return text.replace(GAPS, english.plural(concept.replacement)).replace(GAP, concept.replacement)
    return _emptied(text, concept)


def _without_adjective(text: str, name: str) -> str:
    """ "a rainy street" is "a street" where rain goes."""
    if name not in english.mass_nouns() or " " in name:
        return text
    forms = [f"{stem}y" for stem in (name, name.removesuffix("e"), f"{name}{name[-1]}")]
    adjectives = [form for form in forms if "ADJ" in english.parts_of_speech(form)]
    for adjective in adjectives:
        before = re.compile(rf"(?:(?P<article>\ban?)\s+)?(?<!\w){adjective}\s+(?P<next>[^\W\d_]+)", re.IGNORECASE)
        text = before.sub(_mended, text)
    return text


def _mended(found: re.Match[str]) -> str:
    article, following = found["article"], found["next"]
    if not article:
        return following
    one = english.indefinite(following)
    return one[:1].upper() + one[1:] if article[0].isupper() else one


def _emptied(text: str, concept: Concept) -> str:
    """The text of a scene that the concept has left, or in which something of its class does what it did."""
    emptied, otherwise = _left(text, concept), _otherwise(concept)
    broken = (
        plural_acts_later(text, GAPS)
        or _lost_somebody(text, emptied)
        or is_broken(emptied, EMPTY_SCENE)
        or is_dangling(tidy(emptied), text)
    )
    if not broken:
        return _place_alone(emptied)
    return EMPTY_SCENE if otherwise == SOMETHING else text.replace(GAPS, english.plural(otherwise)).replace(GAP, otherwise)


def _lost_somebody(text: str, emptied: str) -> bool:
    """Whether "her" or "his" in what is left was the subject's: after its mark, and no other person is named before."""
    mark = re.search(ANY, text)
    found = _PERSONAL.search(text, mark.end()) if mark else None
    if found is None or not _PERSONAL.search(emptied):
        return False
    return not any(map(_is_person, WORDS.findall(text[: found.start()])))


def _is_person(word: str) -> bool:
    lowered, lists = word.lower(), english.word_lists()
    anybody = lowered in (*lists["anybody"], *lists["first_names"]) or _PERSONAL.fullmatch(word)
    return bool(anybody) or common_concept(lowered, "person") is not None


def _place_alone(text: str) -> str:
    """ "an empty scene in the ballroom" is "the ballroom"; "in the dark" and "in space" are no places to look at."""
    return _SCENE_IN.sub("", _ON_FIRE.sub(r"\1", text))


def _otherwise(concept: Concept) -> str:
    return next((other for other in concept.replacements if other != EMPTY_SCENE), SOMETHING)


def _left(text: str, concept: Concept) -> str:
    """The text without what the concept does, without it where the sentence can do without, and else with what replaces it."""
    if not english.is_countable(concept.names[0]):
        text = _STATE.sub("", _IN_STATE.sub(lambda found: "," if found["and"] else "", text))
    text = _SUDDENLY.sub("", _LED_BY.sub("", text))
    text = without_clauses_of(text, ANY, GAPS)
    text = _without_list_item(text)
    for pattern in (_ITS_PART, _OF_SOMEBODY):
        text = pattern.sub(r"\g<gap>", text)
    text = re.sub(rf"{ANY}(?:\s*(?:,|and)\s*{ANY})+", GAPS, text)
    joined, text = re.search(rf"{ANY}\s+and\b|\band\s+{ANY}", text), _JOINED.sub(_unjoined, text)
    text = re.sub(rf"(?<=[\w)])\s*(?:\s(?:and|{_BESIDE})\s+{ANY}{HELD}|,\s*{ANY}(?=,|$))", "", text, flags=re.IGNORECASE)
    if not re.search(ANY, text):
        return agreeing(text) if joined else text
    return _filled(_without_actions(text), concept)


def _without_list_item(text: str) -> str:
    """ "a ghost, a cat and a dog" is "a cat and a dog"."""
    text = _FIRST_OF_THREE.sub(r"\g<start>\g<item> and ", text)
    text = _FIRST_OF_LIST.sub(r"\g<start>", text)
    text = _WITHIN_LIST.sub(r"\g<start>", text)
    return _LAST_OF_LIST.sub(r"\g<start> and \g<item>", text)


def _unjoined(found: re.Match[str]) -> str:
    """ "a ghost and a cat" has lost the ghost; in "gets out of a car and walks" something else happens."""
    before, following = found.string[: found.start()], WORDS.match(found.string, found.end())
    word = following.group() if following else ""
    if "," in found.group() and _OBJECT_OF.search(before[-NEAR:]) and not _OPENING.search(before[-NEAR:]):
        return found.group()
    acts = "VERB" in english.parts_of_speech(word) and not re.search(r"\bwith\s*$", before, re.IGNORECASE)
    return found.group() if acts and not (DETERMINER.fullmatch(word) or _OPENING.search(before[-NEAR:])) else ""


def _filled(text: str, concept: Concept) -> str:
    """The empty scene where a sentence opens with it; elsewhere what else may replace the concept."""
    otherwise, filled = _otherwise(concept), ""
    for part in re.split(f"({ANY})", text):
        if part not in (GAP, GAPS):
            filled += part
        elif opens(filled):
            filled += EMPTY_SCENE
        else:
            filled += english.plural(otherwise) if part == GAPS else otherwise
    # "Cars rush past and pedestrians wait": what follows is a scene of its own.
    return filled.removeprefix(f"{EMPTY_SCENE} and ")


def opens(before: str) -> bool:
    """Whether a subject opens the sentence, or a caption, after this; ", a cigarette in her hand" does not."""
    aside = before.rstrip().endswith(",") and has_verb(_SENTENCE_END.split(before)[-1])
    return bool(_OPENING.search(before[-NEAR:])) and EMPTY_SCENE not in before and not aside


def _without_actions(text: str) -> str:
    """The sentences without what the concept does; those that say nothing else go, and "It turns around." after one."""
    sentences, kept, left = _SENTENCE_END.split(text), list[str](), False
    for sentence in sentences:
        if left and _PRONOUN_DOES.match(sentence):
            continue
        left = sentence[:1] in (GAP, GAPS)
        changed = _without_action(sentence)
        if changed.strip(" .!?,") not in (GAP, GAPS) or len(sentences) == 1:
            kept.append(changed)
    return " ".join(kept or [GAP])


def _follows_verb(before: str) -> bool:
    """Whether the words end with a verb of somebody else: "A knight faces", "a child holding", "to reveal"."""
    subject, verb = ["", "", *WORDS.findall(before[-60:])][-2:]
    if verb.lower() in ("", "showing") or not before.rstrip().endswith(verb) or "VERB" not in english.parts_of_speech(verb):
        return False
    noun = "NOUN" in english.parts_of_speech(subject) and not english.is_function_word(subject)
    acts = noun and english.is_present(verb, several=english.is_plural(subject))
    return acts or subject.lower() == "to" or (verb.endswith("ing") and "NOUN" not in english.parts_of_speech(verb))


def _without_action(sentence: str) -> str:
    done = ""
    while found := re.search(ANY, sentence):
        done, rest = done + sentence[: found.start()], sentence[found.end() :]
        near = done[-NEAR:]
        is_object = (_OBJECT_OF.search(near) or _follows_verb(near)) and not _OPENING.search(near)
        led = bool(_LED_IN.fullmatch(done)) and not _OPENING.search(near)
        gap, sentence = (found.group(), rest) if is_object else after_actions(found.group(), rest, led=led)
        done += gap
    return done + sentence
