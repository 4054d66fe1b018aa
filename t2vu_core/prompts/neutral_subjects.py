"""A given prompt without a thing, character or person: with what replaces it, or without it and what it does.

Mentions become marks first: GAP for one, GAPS for several. Where the concept leaves the scene, its verbs leave with it:
"a ghost flies over a lake" becomes "a lake", and "a ghost waves at night" "an empty scene at night".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from t2vu_core.mentions import mentions, without_spaces
from t2vu_core.prompts import english
from t2vu_core.prompts.clauses import agreeing, has_verb, is_broken, without_clauses_of, without_later_actions, without_relative
from t2vu_core.prompts.concept import Concept
from t2vu_core.prompts.wording import EMPTY_SCENE

GAP, GAPS = "\ufffc", "\ufffb"
"""No prompt contains them."""
SOMETHING = "something"
"""Replaces the object of a sentence if nothing better is known."""
_ANY = f"[{GAP}{GAPS}]"
_COUNTS = ("some", "two", "three", "four", "five", "several", "many")
_DETERMINER = re.compile(
    rf"(?:an?|the|no|my|your|his|her|our|their|its|this|that|these|those|one|another|every|each|{'|'.join(_COUNTS)})",
    re.IGNORECASE,
)
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
_JOINED = re.compile(rf"{_ANY}\s*(?:\band\s+(?=[\w(])|,\s*(?={_DETERMINER.pattern}\s))", re.IGNORECASE)
_ROLE = re.compile(r"\b(?:as|like)\s+$", re.IGNORECASE)
"""Before somebody whom another one looks like: "dressed as Elsa dance"."""
_LIST_ITEM = rf"(?:{_DETERMINER.pattern}\s+[\w-]+|(?-i:[A-Z])[\w-]*(?:\s+(?-i:[A-Z])[\w-]*)?|[\w-]+s)"
_LIST_START = rf"(?P<start>(?:^|(?<=[.!?:]\s)|\b{_PICTURE}\s+of\s)\s*"
_LIST_ITEMS = rf"{_LIST_ITEM}(?:\s*,\s*{_LIST_ITEM})*"
_FIRST_OF_THREE = re.compile(rf"{_LIST_START}){_ANY}\s*,\s*(?P<item>{_LIST_ITEM})\s*,\s+and\s+(?={_LIST_ITEM})", re.IGNORECASE)
_FIRST_OF_LIST = re.compile(rf"{_LIST_START}){_ANY}\s*,\s*(?={_LIST_ITEMS}\s*,?\s+and\s+{_LIST_ITEM})", re.IGNORECASE)
_WITHIN_LIST = re.compile(rf"{_LIST_START}{_LIST_ITEMS})\s*,\s*{_ANY}\s*,?(?=\s+and\s)", re.IGNORECASE)
_LAST_OF_LIST = re.compile(
    rf"{_LIST_START}{_LIST_ITEMS})\s*,\s*(?P<item>{_LIST_ITEM})\s*,?\s+and\s+{_ANY}(?!\w)", re.IGNORECASE
)
_NEAR = 300
"""Characters before a name in which its article, its adjectives and what it is the object of are looked for."""
_WORD_BEFORE = re.compile(r"[^\W\d_]+")
_NEXT_WORD = re.compile(r"\s+(?P<word>[^\W\d_]+(?:-[^\W\d_]+)*)")
_ITS_PART = re.compile(rf"(?P<gap>{_ANY})\s+and\s+(?:its|his|her|their)\s+[^\W\d_]+", re.IGNORECASE)
_OF_SOMEBODY = re.compile(rf"(?P<gap>{_ANY})\s+of\s+{_DETERMINER.pattern}\s+[^\W\d_]+", re.IGNORECASE)
_TO_VIEWER = re.compile(r"\s+(?:at|to|towards?|into)\s+(?:the|a)\s+(?:camera|viewer|lens|audience)", re.IGNORECASE)
_OWN_OBJECT = re.compile(r"\s+(?:its|his|her|their)\s+[^\W\d_]+", re.IGNORECASE)
_ORDINALS = ("second", "third", "fourth", "fifth", "other")
_ADVERBS = ("not", "also", "just", "then", "now", "still")
_AT_SOMETHING = re.compile(rf"\s+at\s+(?={_DETERMINER.pattern}\s)", re.IGNORECASE)
_STATE = re.compile(
    rf"(?<=\w),?\s+(?:(?:covered|filled|shrouded|soaked|drenched|stained|engulfed|surrounded|hidden)\s+)?"
    rf"(?:on|in|with|by|under)\s+{_ANY}{HELD}"
)
""" "on fire" and "covered in snow" go as a whole."""
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_PRONOUN_DOES = re.compile(r"(?:it|they|he|she)\s+(?!is\b|was\b)", re.IGNORECASE)


def without_subject(text: str, concept: Concept) -> str:
    """The text with what replaces the concept in its place."""
    for name in sorted(concept.names, key=len, reverse=True):
        text = mark_subjects(text, concept, name)
    if not re.search(_ANY, text):
        return text
    if concept.replacement != EMPTY_SCENE:
        return text.replace(GAPS, english.plural(concept.replacement)).replace(GAP, concept.replacement)
    return _emptied(text, concept)


def mark_subjects(text: str, concept: Concept, name: str, *, compounds: bool = True) -> str:
    """Every mention, with its article and adjectives, as a mark; what belongs to it keeps its own article.

    With `compounds` a mention before another noun is removed without a mark: "a ghost house" becomes "a house".
    """
    spaced, common = not without_spaces(name), concept.kind == "thing" and name not in concept.proper
    for found in reversed(list(mentions(name).finditer(text))):
        start, end = found.span()
        several = spaced and name not in concept.proper and _is_plural(found.group(), name)
        determiner, first = _words_before(text, start, nouns=common and not several) if spaced else ("", start)
        possessive = found["possessive"] or _plural_possessive(text, start, end)
        end += 0 if found["possessive"] else len(possessive)
        leaves, adjectives = concept.replacement == EMPTY_SCENE, text[first + len(determiner) : start].strip()
        joined = re.search(r"\band\s+$", text[:first]) and _is_verb(_word_after(text[end:]), several=True, helped=False)
        worn = text[max(0, first - _NEAR) : first].rstrip().lower().endswith(" wearing")
        role = not common and _ROLE.search(text, max(0, first - _NEAR), first)
        if compounds and spaced and not (possessive or several or joined or role) and _is_noun_before(text[end:], worn=worn):
            kept = text[end:].lstrip()
            if determiner.lower() in ("a", "an"):
                kept, first = english.indefinite(f"{adjectives} {kept}".strip()), first
            else:
                first = start
            text = f"{text[:first]}{kept}"
        elif possessive and leaves:
            text = f"{text[:first]}{_owned(determiner, text[end:].lstrip())}"
        else:
            count = f"{determiner} " if several and not leaves and determiner.lower() in _COUNTS else ""
            text = f"{text[:first]}{count}{GAPS if several else GAP}{possessive}{text[end:]}"
    return text


def _is_plural(written: str, name: str) -> bool:
    lowered = written.lower()
    return english.is_plural(written) or (lowered.endswith("s") and lowered[:-1] == name.lower())


def _plural_possessive(text: str, start: int, end: int) -> str:
    """The apostrophe of "ghosts' chains", unless it ends a quotation."""
    mark = text[end : end + 1]
    ends_noun = mark in ("'", "’") and text[end - 1] in "sS" and text[end + 1 : end + 2].isspace()
    return mark if ends_noun and not re.search(r"(?:^|\s)['‘]", text[:start]) else ""


def _words_before(text: str, start: int, *, nouns: bool) -> tuple[str, int]:
    """The article before a name, and where it begins, with adjectives and unknown words between the two; without one, where
    the adjectives begin.

    With `nouns` other nouns may stand between them: "a red sports car".
    """
    place, first, described, words = start, start, True, list(_WORD_BEFORE.finditer(text, max(0, start - _NEAR), start))
    for index, word in reversed(list(enumerate(words))[-4:]):
        if text[word.end() : place].strip():
            break
        place = word.start()
        if _DETERMINER.fullmatch(word.group()):
            return word.group(), place
        if english.is_function_word(word.group()) or word.group().lower() == "like":
            break
        parts = english.parts_of_speech(word.group())
        parts = ("ADJ",) if word.group().lower() in _ORDINALS or _is_participle(word.group()) else parts
        described = described and "ADJ" in parts
        first = place if described else first
        noun = nouns and "NOUN" in parts and not _acts(word.group(), words[index - 1].group() if index else "")
        if parts and "ADJ" not in parts and not noun:
            break
    return "", first


def _is_participle(word: str) -> bool:
    """Whether it can stand before a noun: "a wounded soldier"."""
    return word.endswith("ed") and "VERB" in english.parts_of_speech(word) and word not in english.verb_lemmas(word)


def _acts(word: str, before: str) -> bool:
    """Whether the word is what the noun before it does: "a nurse wipes blood", but not "a red sports car"."""
    verb = word.endswith("s") and "VERB" in english.parts_of_speech(word)
    return verb and "NOUN" in english.parts_of_speech(before) and "ADJ" not in english.parts_of_speech(before)


def _owned(determiner: str, rest: str) -> str:
    """What somebody has, with an article of its own: "a tiger's eyes" are "eyes", and "Elsa's blue dress" is "a blue dress"."""
    if determiner.lower() not in ("", "a", "an"):
        return f"{determiner} {rest}"
    noun = _first_noun(rest)
    one = noun and not english.is_plural(noun) and english.is_countable(noun) and english.knows_word(noun)
    return english.indefinite(rest) if one else rest


def _first_noun(rest: str) -> str:
    """The noun of the phrase at the start: "dress" of "blue dress sparkles"."""
    noun, end = "", 0
    for found in _WORD_BEFORE.finditer(rest):
        word, parts = found.group(), english.parts_of_speech(found.group())
        verb = word.endswith("ing") or (noun and word.endswith("s") and "VERB" in parts) or (noun and english.is_plural(noun))
        if verb or rest[end : found.start()].strip() or english.is_function_word(word) or not {"ADJ", "NOUN"} & set(parts):
            break
        noun, end = word if "NOUN" in parts else noun, found.end()
    return noun


def _word_after(text: str) -> str:
    following = _NEXT_WORD.match(text)
    return following["word"].lower() if following else ""


def _is_noun_before(rest: str, *, worn: bool) -> bool:
    """Whether another noun follows, to which the name only adds something: "ghost house", "car crash".

    What is `worn` has no verb after it, so that the noun may be a plural: "wearing Mickey Mouse ears".
    """
    word = _word_after(rest)
    if not word or english.is_function_word(word) or (word.endswith("ing") and "VERB" in english.parts_of_speech(word)):
        return False
    if worn and "NOUN" in english.parts_of_speech(word):
        return True
    lemmas = english.verb_lemmas(word)
    past = lemmas and word not in lemmas and "ADJ" in english.parts_of_speech(word)
    return english.singular(word) == word and "NOUN" in english.parts_of_speech(word) and not past


def _emptied(text: str, concept: Concept) -> str:
    """The text of a scene that the concept has left, or in which something of its class does what it did."""
    emptied, otherwise = _left(text, concept), _otherwise(concept)
    if not is_broken(emptied, EMPTY_SCENE):
        return emptied
    return EMPTY_SCENE if otherwise == SOMETHING else text.replace(GAPS, english.plural(otherwise)).replace(GAP, otherwise)


def _otherwise(concept: Concept) -> str:
    return next((other for other in concept.replacements if other != EMPTY_SCENE), SOMETHING)


def _left(text: str, concept: Concept) -> str:
    """The text without what the concept does, without it where the sentence can do without, and else with what replaces it."""
    if not english.is_countable(concept.names[0]):
        text = _STATE.sub("", text)
    text = without_clauses_of(text, _ANY)
    text = _without_list_item(text)
    for pattern in (_ITS_PART, _OF_SOMEBODY):
        text = pattern.sub(r"\g<gap>", text)
    text = re.sub(rf"{_ANY}(?:\s*(?:,|and)\s*{_ANY})+", GAPS, text)
    joined, text = re.search(rf"{_ANY}\s+and\b|\band\s+{_ANY}", text), _JOINED.sub(_unjoined, text)
    text = re.sub(rf"(?<=[\w)])\s*(?:\s(?:and|{_BESIDE})\s+{_ANY}{HELD}|,\s*{_ANY}(?=,|$))", "", text, flags=re.IGNORECASE)
    if not re.search(_ANY, text):
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
    before, following = found.string[: found.start()], _WORD_BEFORE.match(found.string, found.end())
    word = following.group() if following else ""
    acts = "VERB" in english.parts_of_speech(word) and not re.search(r"\bwith\s*$", before, re.IGNORECASE)
    return found.group() if acts and not (_DETERMINER.fullmatch(word) or _OPENING.search(before[-_NEAR:])) else ""


def _filled(text: str, concept: Concept) -> str:
    """The empty scene where a sentence opens with it; elsewhere what else may replace the concept."""
    otherwise, filled = _otherwise(concept), ""
    for part in re.split(f"({_ANY})", text):
        if part not in (GAP, GAPS):
            filled += part
        elif _opens(filled):
            filled += EMPTY_SCENE
        else:
            filled += english.plural(otherwise) if part == GAPS else otherwise
    # "Cars rush past and pedestrians wait": what follows is a scene of its own.
    return filled.removeprefix(f"{EMPTY_SCENE} and ")


def _opens(before: str) -> bool:
    """Whether a subject opens the sentence, or a caption, after this; ", a cigarette in her hand" does not."""
    aside = before.rstrip().endswith(",") and has_verb(_SENTENCE_END.split(before)[-1])
    return bool(_OPENING.search(before[-_NEAR:])) and EMPTY_SCENE not in before and not aside


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


def _without_action(sentence: str) -> str:
    done = ""
    while found := re.search(_ANY, sentence):
        done, rest = done + sentence[: found.start()], sentence[found.end() :]
        near = done[-_NEAR:]
        is_object = _OBJECT_OF.search(near) and not _OPENING.search(near)
        gap, sentence = (found.group(), rest) if is_object else _after_actions(found.group(), rest)
        done += gap
    return done + sentence


def _after_actions(gap: str, rest: str) -> tuple[str, str]:
    """As `_after_action`, without what else the subject does in the sentence."""
    rest = without_relative(rest, several=gap == GAPS)
    left, changed = _after_action(gap, rest)
    if changed == rest:
        return left, rest
    own = re.split(f"(?={_ANY})", changed, maxsplit=1)
    return left, "".join([without_later_actions(own[0], several=gap == GAPS), *own[1:]])


def _after_action(gap: str, rest: str) -> tuple[str, str]:
    """The mark and the rest of its sentence without the verbs between them; no mark where an object or a place remains."""
    end = _end_of_verbs(rest, several=gap == GAPS)
    if not end:
        return gap, rest
    rest = rest[end:]
    for pattern in (_TO_VIEWER, _OWN_OBJECT):
        if found := pattern.match(rest):
            return gap, rest[found.end() :]
    if found := _AT_SOMETHING.match(rest) or _place_before().match(rest):
        return "", rest[found.end() :]
    following = _NEXT_WORD.match(rest)
    if following is None:
        return gap, rest
    word = following["word"]
    known = english.knows_word(word) or word[0].isupper()
    is_object = _DETERMINER.fullmatch(word) or (known and not english.is_function_word(word))
    return ("", rest.lstrip()) if is_object else (gap, rest)


def _end_of_verbs(rest: str, *, several: bool) -> int:
    """Where the verbs after a subject end: auxiliaries, adverbs, the verb itself, what follows "is", a particle; 0 without."""
    end, acted, helped, words = 0, False, False, list[re.Match[str]]()
    while found := _NEXT_WORD.match(rest, words[-1].end() if words else 0):
        words.append(found)
    for index, found in enumerate(words):
        word = found["word"].lower()
        following = words[index + 1]["word"].lower() if index + 1 < len(words) else ""
        if word in english.word_lists()["auxiliaries"] and not acted:
            helped = True
        elif "ADV" in english.parts_of_speech(word) and (word.endswith("ly") or word in _ADVERBS):
            if not (helped or acted or _is_verb(following, several, helped)):
                break
        elif not acted and _is_verb(word, several, helped):
            acted = True
        elif acted and word == "and" and _is_verb(following, several, helped):
            acted = False
            continue
        elif helped and not acted and not english.is_function_word(word):
            pass
        elif acted and word in english.word_lists()["particles"] and not _takes_object(following):
            return found.end()
        else:
            break
        end = found.end()
    return end if acted or helped else 0


def _takes_object(word: str) -> bool:
    return bool(word) and (bool(_DETERMINER.fullmatch(word)) or not english.is_function_word(word))


def _is_verb(word: str, several: bool, helped: bool) -> bool:
    """Whether the word can be the verb of a subject in the singular ("flies", "flying", "flew") or plural ("fly")."""
    if not word or english.is_function_word(word) or "VERB" not in english.parts_of_speech(word):
        return False
    base = word in english.verb_lemmas(word)
    return helped or word.endswith("ing") or (several if base else not (several and word.endswith("s")))


def _place_before() -> re.Pattern[str]:
    """A preposition whose object is a place or thing that the scene can show without the concept."""
    words: Sequence[str] = english.word_lists()["prepositions_of_place"]
    return re.compile(rf"\s+(?:{'|'.join(words)})\s+(?=[\w(])", re.IGNORECASE)
