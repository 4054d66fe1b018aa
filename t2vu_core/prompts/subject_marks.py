"""A subject's mentions as marks: GAP for one, GAPS for several, each with its article and adjectives."""

from __future__ import annotations

import re

from t2vu_core.mentions import mentions, without_spaces
from t2vu_core.prompts import english
from t2vu_core.prompts.common_concepts import common_concept
from t2vu_core.prompts.concept import Concept
from t2vu_core.prompts.denials import is_another
from t2vu_core.prompts.wording import EMPTY_SCENE

GAP, GAPS = "\ufffc", "\ufffb"
"""No prompt contains them."""
ANY = f"[{GAP}{GAPS}]"
COUNTS = ("some", "two", "three", "four", "five", "several", "many")
DETERMINER = re.compile(
    rf"(?:an?|the|no|my|your|his|her|our|their|its|this|that|these|those|one|another|every|each|{'|'.join(COUNTS)})",
    re.IGNORECASE,
)
_TITLE = re.compile(r"(?<!\w)(?P<word>[^\W\d_]+)\.?\s+$")
_WORN = re.compile(r"\b(?:wearing|(?P<in>in))\s+$", re.IGNORECASE)
"""Before a name that only says of what kind a plural is: "in Batman costumes"."""
NEXT_WORD = re.compile(r"\s+(?P<word>[^\W\d_]+(?:-[^\W\d_]+)*)")
_ROLE = re.compile(r"\b(?:as|like)\s+$", re.IGNORECASE)
"""Before somebody whom another one looks like: "dressed as Elsa dance"."""
NEAR = 300
"""Characters before a name in which its article, its adjectives and what it is the object of are looked for."""
WORDS = re.compile(r"[^\W\d_]+")
_COLLECTIVE = ("crowd", "mob", "audience", "group", "gang", "army", "team", "family", "couple", "band", "crew", "choir")
_COLORS = ("black", "white", "brown", "grey", "gray", "red", "orange", "golden", "blue", "green", "yellow", "pink", "silver")
_ORDINALS = ("second", "third", "fourth", "fifth", "other")


def mark_subjects(text: str, concept: Concept, name: str, *, compounds: bool = True) -> str:
    """Every mention, with its article and adjectives, as a mark; what belongs to it keeps its own article.

    With `compounds` a mention before another noun is removed without a mark: "a ghost house" becomes "a house".
    """
    spaced, common = not without_spaces(name), concept.kind == "thing" and name not in concept.proper
    proper = name in concept.proper
    for found in reversed(list(mentions(name).finditer(text))):
        start, end = found.span()
        if is_another(text, found, concept, name):
            continue
        several = spaced and (_are_namesakes(found.group(), name) if proper else _is_plural(found.group(), name))
        determiner, first = _words_before(text, start, nouns=common and not several) if spaced else ("", start)
        determiner, first = _titles_before(text, determiner, first) if proper else (determiner, first)
        possessive = found["possessive"] or _plural_possessive(text, start, end)
        end += 0 if found["possessive"] else len(possessive)
        leaves, adjectives = concept.replacement == EMPTY_SCENE, text[first + len(determiner) : start].strip()
        joined = re.search(r"\band\s+$", text[:first]) and is_verb(_word_after(text[end:]), several=True, helped=False)
        before = _WORN.search(text, max(0, first - NEAR), first)
        worn = before is not None and not (
            before["in"] and (determiner or not english.is_proper(english.without_article(name)))
        )
        role = not common and _ROLE.search(text, max(0, first - NEAR), first)
        plural_name = (
            several and not proper and english.is_plural(name) and _is_of_kind(text[end:], counted=determiner.lower() in COUNTS)
        )
        noun_next = plural_name or (not several and is_noun_before(text[end:], worn=worn))
        if compounds and spaced and noun_next and not (possessive or joined or role):
            kept = text[end:].lstrip()
            if determiner.lower() in ("a", "an"):
                kept, first = english.indefinite(f"{adjectives} {kept}".strip()), first
            else:
                first = start
            text = f"{text[:first]}{kept}"
        elif possessive and leaves:
            text = f"{text[:first]}{_owned(determiner, text[end:].lstrip())}"
        else:
            if concept.kind == "person" and not several and english.head(name) in _COLLECTIVE:
                several, end, text = True, end, f"{text[:end]}{_in_plural(text[end:])}"
            count = f"{determiner} " if several and not leaves and determiner.lower() in COUNTS else ""
            text = f"{text[:first]}{count}{GAPS if several else GAP}{possessive}{text[end:]}"
    return text


def _is_plural(written: str, name: str) -> bool:
    lowered = written.lower()
    return english.is_plural(written) or (lowered.endswith("s") and lowered[:-1] == name.lower())


def _is_of_kind(rest: str, *, counted: bool) -> bool:
    """Whether a noun follows a name that is a plural itself, and no verb: "police car"."""
    word = _word_after(rest)
    verb = english.is_present(word, several=True) or word.endswith(("ing", "ed"))
    verb = verb or (not counted and english.is_present(word, several=False))
    parts = english.parts_of_speech(word)
    return "NOUN" in parts and "ADV" not in parts and not (verb or english.is_function_word(word))


def _in_plural(rest: str) -> str:
    """What follows a crowd, which becomes people: "cheers" is "cheer"."""
    found = NEXT_WORD.match(rest)
    if found is None or not (english.is_present(found["word"], several=False) or found["word"] in english.IRREGULAR):
        return rest
    return f"{rest[: found.start('word')]}{english.agree(found['word'], True)}{rest[found.end() :]}"


def _are_namesakes(written: str, name: str) -> bool:
    """Whether a proper name is in the plural: "two Obamas"."""
    return written.lower() == f"{name.lower()}s"


def _titles_before(text: str, determiner: str, first: int) -> tuple[str, int]:
    """The article before what somebody is, and where it begins: "Former president" of "Former president Obama"."""
    start = first
    while not determiner and (found := _TITLE.search(text, max(0, first - NEAR), first)) and _is_title(text, found):
        determiner, first = _words_before(text, found.start("word"), nouns=False)
    found = _TITLE.search(text, max(0, first - NEAR), first)
    if first != start and not determiner and found and found["word"][0].isupper() and common_concept(found["word"], "thing"):
        # "Tesla CEO Elon Musk"
        first = found.start("word")
    return determiner, first


def _is_title(text: str, found: re.Match[str]) -> bool:
    word = found["word"].lower()
    if word in english.word_lists()["titles"]:
        return True
    occupation = common_concept(word, "person")
    if occupation is None or not occupation.name.islower() or found["word"].endswith("s"):
        return False
    # "agents guard Obama"
    before = WORDS.findall(text[max(0, found.start() - NEAR) : found.start()])
    return not (before and "VERB" in english.parts_of_speech(word) and english.is_plural(before[-1]))


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
    place, first, described, words = start, start, True, list(WORDS.finditer(text, max(0, start - NEAR), start))
    for index, word in reversed(list(enumerate(words))[-4:]):
        between = text[word.end() : place]
        if between.strip() and between != "-":
            break
        place = word.start()
        if DETERMINER.fullmatch(word.group()):
            return word.group(), place
        lowered, previous = word.group().lower(), words[index - 1].group().lower() if index else ""
        if lowered == "and" and previous in _COLORS and described and first < start:
            # "black and white"
            continue
        if english.is_function_word(word.group()) or word.group().lower() == "like":
            break
        parts = english.parts_of_speech(word.group())
        moving = between == "-" or (lowered.endswith("ing") and "VERB" in parts and DETERMINER.fullmatch(previous))
        parts = ("ADJ",) if lowered in _ORDINALS or moving or _is_participle(word.group()) else parts
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
    for found in WORDS.finditer(rest):
        word, parts = found.group(), english.parts_of_speech(found.group())
        verb = word.endswith("ing") or (noun and word.endswith("s") and "VERB" in parts) or (noun and english.is_plural(noun))
        if verb or rest[end : found.start()].strip() or english.is_function_word(word) or not {"ADJ", "NOUN"} & set(parts):
            break
        noun, end = word if "NOUN" in parts else noun, found.end()
    return noun


def _word_after(text: str) -> str:
    following = NEXT_WORD.match(text)
    return following["word"].lower() if following else ""


def is_noun_before(rest: str, *, worn: bool) -> bool:
    """Whether another noun follows, to which the name only adds something: "ghost house", "car crash".

    What is `worn` has no verb after it, so that the noun may be a plural: "wearing Mickey Mouse ears".
    """
    word = _word_after(rest).rpartition("-")[2]
    if not word or english.is_function_word(word) or (word.endswith("ing") and "VERB" in english.parts_of_speech(word)):
        return False
    after = WORDS.search(rest, rest.lower().index(word) + len(word))
    particle = after and after.group().lower() in english.word_lists()["particles"]
    if particle and english.is_present(word, several=True):
        # "The colors of the ghost stand out"
        return False
    if worn and "NOUN" in english.parts_of_speech(word):
        return True
    lemmas = english.verb_lemmas(word)
    past = lemmas and word not in lemmas and "ADJ" in english.parts_of_speech(word)
    return english.singular(word) == word and "NOUN" in english.parts_of_speech(word) and not past


def is_verb(word: str, several: bool, helped: bool) -> bool:
    """Whether the word can be the verb of a subject in the singular ("flies", "flying", "flew") or plural ("fly")."""
    if not word or english.is_function_word(word) or "VERB" not in english.parts_of_speech(word):
        return False
    base = word in english.verb_lemmas(word)
    return helped or word.endswith("ing") or (several if base else not (several and word.endswith("s")))
