"""English grammar: number, articles and inflections, as two libraries know them.

lemminflect's lexicon (NIH SPECIALIST) says which forms a word has, and inflect chooses between "a" and "an". The lexicon
does not mark words such as "water" as uncountable, since "waters" exists; a list of those ships with this package. Names and
words of other languages are in neither, and are used as they are written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from typing import Any
from unittest import mock

import lemminflect
import typeguard

ARTICLES = ("a ", "an ", "the ", "some ")
DETERMINER = re.compile(
    r"(?:an?|the|some|one|two|three|four|five|several|many|my|our|your|its|his|her|their|this|that|these|those|\d+)\s",
    re.IGNORECASE,
)
_AFTER_HEAD = re.compile(r"\s(?:of|on|in|with|at|from|by|for|to|under|over|without|against|wearing|holding)\s", re.IGNORECASE)
_WORDS = re.compile(r"[^\W\d_]+", re.UNICODE)
_POSSESSIVE = re.compile(r"(?:my|our|your|its|his|her|their|this|that|these|those)\s", re.IGNORECASE)
_OWN_ARTICLE = re.compile(r"an?\s+(?=[a-z])")
_AN_BEFORE_NUMBERS = (r"8\d*(?!\d).*", r"1[18](?!\d).*", r"1[18]\d\d(?!\d).*")
"""Eight, eleven, eighteen and the years that begin with the last two, which inflect takes for consonants."""
IRREGULAR = {"is": "are", "has": "have", "was": "were", "does": "do"}


def head(name: str) -> str:
    """The noun that a name is about: its last word, or the last before "of", "on" and the like ("slice of pizza")."""
    words = _WORDS.findall(_AFTER_HEAD.split(name, maxsplit=1)[0])
    return words[-1].lower() if words else ""


def is_plural(name: str) -> bool:
    """Whether verbs after the name are plural: "guns", "two men", "people"."""
    if re.match(r"(?:two|three|four|five|several|many|some)\s", name, re.IGNORECASE):
        return head(name) not in mass_nouns()
    word = head(name)
    if word in word_lists()["always_plural"] or _is_unknown_plural(name, word):
        return True
    return word not in _lemmas(word, "NOUN") and bool(_lemmas(word, "NOUN"))


def singular(name: str) -> str:
    """ "guns" -> "gun"; the name itself if it has no singular."""
    noun = head(name)
    if noun in word_lists()["no_singular"] or " and " in name.lower():
        return name
    lemma = next((lemma for lemma in _lemmas(noun, "NOUN") if lemma != noun), noun)
    if _is_unknown_plural(name, noun):
        lemma = noun[:-1]
    return re.sub(rf"\b{re.escape(noun)}\b", lemma, name, count=1, flags=re.IGNORECASE)


def _is_unknown_plural(name: str, noun: str) -> bool:
    """Whether a noun that the lexicon lacks looks like a plural: "swastikas"."""
    return name.islower() and re.search(r"..[^siu]s$", noun) is not None and not knows_word(noun)


def is_countable(name: str) -> bool:
    """Whether the name takes "a": "ghost" does, "nudity" and "water" do not."""
    word = head(name)
    if name.lower() in word_lists()["countable"]:
        return True
    measured = word in word_lists()["measures"] and f"{word} of " in name.lower()
    if not measured and (name.lower() in mass_nouns() or word in mass_nouns()):
        return False
    plurals = lemminflect.getAllInflections(word, "NOUN").get("NNS", ())
    # "sheep" is its own plural, and yet there is "a sheep"; words on -s such as "news" have no article.
    return plurals != (word,) or word in word_lists()["own_plural"]


def knows_word(word: str) -> bool:
    """Whether the lexicon has the word."""
    return bool(lemminflect.getAllLemmas(word.lower()))


@lru_cache(maxsize=4096)
def parts_of_speech(word: str) -> tuple[str, ...]:
    """NOUN, VERB, ADJ and ADV, as far as the lexicon has the word as one."""
    return tuple(lemminflect.getAllLemmas(word.lower()))


def verb_lemmas(word: str) -> tuple[str, ...]:
    """The base forms of the word as a verb: "flies" -> "fly"."""
    return _lemmas(word, "VERB")


def is_function_word(word: str) -> bool:
    """Whether the word is an article, a pronoun, a preposition, an auxiliary or the like."""
    return word.lower() in word_lists()["function_words"]


def is_present(word: str, *, several: bool) -> bool:
    """Whether the word can be a verb in the present ("flies", "fly") of a subject in that number."""
    word = word.lower()
    if is_function_word(word) or "VERB" not in parts_of_speech(word):
        return False
    base = word in verb_lemmas(word)
    return base if several else word.endswith("s") and not base


def is_proper(name: str) -> bool:
    """Whether the name is written as proper names are, with a capital; "SUV" and "American flag" are none."""
    first, *others = name.split() or [""]
    if others and others[-1].islower() and "NOUN" in parts_of_speech(others[-1]):
        return False
    return first[:1].isupper() and not (len(first) > 1 and first.isupper() and first.isalpha())


def plural(name: str) -> str:
    """ "a robot" -> "robots", "a man in armor" -> "men in armor"; what has no "a" is not changed."""
    article, _, words = name.partition(" ")
    if article.lower() not in ("a", "an"):
        return name
    # inflect would also make plurals of what follows a preposition.
    found = _AFTER_HEAD.search(words)
    own, rest = (words[: found.start()], words[found.start() :]) if found else (words, "")
    return f"{_engine().plural_noun(own) or own}{rest}"


def with_article(name: str) -> str:
    """ "ghost" -> "a ghost", "hour" -> "an hour"; proper names, plurals and uncountable names are not changed.

    An article that does not fit is mended: "an unicorn" -> "a unicorn".
    """
    if name.islower() and name.isascii() and (article := _OWN_ARTICLE.match(name)):
        return indefinite(name[article.end() :])
    if DETERMINER.match(name) or is_proper(name) or not name[:1].isalnum() or not name.isascii():
        return name
    if is_plural(name) or not is_countable(name) or is_gerund(name) or is_gerund(head(name)):
        return name
    return indefinite(name)


def without_article(name: str) -> str:
    """ "a ghost" -> "ghost"."""
    for article in ARTICLES:
        if name.lower().startswith(article):
            return name[len(article) :]
    return name


def definite(name: str) -> str:
    """ "a ghost" or "ghost" -> "the ghost", "a Ferrari" -> "the Ferrari"; proper names without an article are not changed."""
    if _POSSESSIVE.match(name):
        return name
    own = re.sub(r"^one\s", "", without_article(name))
    return own if own == name and is_proper(name) else f"the {own}"


def is_participle(word: str) -> bool:
    """Whether the word says what was done to something: "covered", "seen", "hidden"."""
    own = word.lower()
    lemmas = set(_lemmas(own, "VERB")) - {own}
    return bool(lemmas) and (own.endswith("ed") or any(own in lemminflect.getInflection(each, "VBN") for each in lemmas))


def is_gerund(name: str) -> bool:
    """Whether the name begins with what somebody does: "smoking", "holding a knife"; "building" and "walking stick" do not."""
    words = _WORDS.findall(name.lower()) or [""]
    first = words[0]
    if not first.endswith("ing") or not _lemmas(first, "VERB"):
        return False
    if len(words) > 1 and DETERMINER.match(f"{words[1]} "):
        return True
    if len(words) > 1 and _describes(first, words[1]):
        return False
    return first not in _lemmas(first, "NOUN") or lemminflect.getAllInflections(first, "NOUN").get("NNS") == (first,)


def _describes(gerund: str, noun: str) -> bool:
    """Whether the two are one noun: "walking stick", "crying baby"; in "hunting a deer" and "holding hands" they are not."""
    lists, is_noun = word_lists(), "NOUN" in parts_of_speech(noun)
    if "ADJ" in parts_of_speech(gerund) or (gerund in (*lists["noun_gerunds"], *lists["intransitive_gerunds"]) and is_noun):
        return True
    return gerund in lists["one_gerunds"] and is_noun and singular(noun) == noun and is_countable(noun)


def is_adjective(phrase: str) -> bool:
    """Whether the phrase can stand before a noun: "nude", "fully dressed", "red-haired"."""
    words = phrase.lower().split()
    if not words or _AFTER_HEAD.search(f" {phrase} ") or is_gerund(phrase):
        return False
    leading = all(word.endswith("ly") for word in words[:-1])
    *joined, last = words[-1].split("-")
    parts = parts_of_speech(last)
    return leading and (
        "ADJ" in parts
        or last in word_lists()["adjectives"]
        or last in word_lists()["one_word_adjectives"].values()
        or (last.endswith("ed") and (bool(joined) or "VERB" in parts))
    )


def has_comparative(word: str) -> bool:
    """Whether there is more or less of it: "red" and "wet" can be "redder" and "wetter", "gold" cannot."""
    return "JJR" in lemminflect.getAllInflections(word.lower(), "ADJ")


def with_adjective(subject: str, adjective: str) -> str:
    """ "a woman", "nude" -> "a nude woman"; "a group of people", "calm" -> "a group of calm people"."""
    start, group, rest = subject.rpartition(" of ")
    found = DETERMINER.match(rest)
    determiner = found.group().strip() if found else ""
    noun = rest[len(determiner) :].strip()
    spoken = f"{adjective} {noun}"
    if determiner.lower() in ("a", "an"):
        spoken = indefinite(spoken)
        spoken = spoken.capitalize() if determiner[0].isupper() else spoken
    elif determiner:
        spoken = f"{determiner} {spoken}"
    return f"{start}{group}{spoken}"


def indefinite(words: str) -> str:
    """The words after "a" or "an", whatever they are."""
    return str(_engine().a(words))


def agree(verb: str, plural: bool) -> str:
    """A verb in the third person singular ("walks"), as it stands after a plural subject if there is one ("walk")."""
    if not plural:
        return verb
    return IRREGULAR.get(verb) or next(iter(_lemmas(verb, "VERB")), verb)


def third_person(verb: str) -> str:
    """ "sit" -> "sits"."""
    return next(iter(lemminflect.getInflection(verb, "VBZ")), verb)


@cache
def noun_forms(word: str) -> frozenset[str]:
    """Singular and plural of a noun; empty if the lexicon does not have it."""
    forms = {word} if _lemmas(word, "NOUN") else set()
    for lemma in _lemmas(word, "NOUN"):
        inflected = lemminflect.getAllInflections(lemma, "NOUN")
        forms |= {lemma, *inflected.get("NN", ()), *inflected.get("NNS", ())}
    return frozenset(forms)


@cache
def verb_forms(word: str) -> frozenset[str]:
    """The forms of the verb that a gerund comes from.

    Without the verb's own name where that is another noun: "smoke" rises from chimneys too, but "smoking" does not.
    """
    forms = {word}
    for lemma in _lemmas(word, "VERB"):
        inflected = lemminflect.getAllInflections(lemma, "VERB")
        forms |= {form for tag in ("VBZ", "VBD", "VBG", "VBN") for form in inflected.get(tag, ())}
        if not (_lemmas(lemma, "NOUN") and word in _lemmas(word, "NOUN")):
            forms.add(lemma)
    return frozenset(forms)


@cache
def mass_nouns() -> frozenset[str]:
    """Names that take no article although the lexicon has a plural of them."""
    return frozenset(word_lists()["mass_nouns"])


@cache
def word_lists() -> Mapping[str, Any]:
    """The lists of words that ship with this package."""
    path = resources.files("t2vu_core.prompts").joinpath("data/words.json")
    lists: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return lists


@lru_cache(maxsize=4096)
def _lemmas(word: str, part: str) -> tuple[str, ...]:
    found: tuple[str, ...] = lemminflect.getAllLemmas(word.lower(), part).get(part, ())
    return found


@cache
def _engine() -> Any:
    # typeguard compiles each of inflect's functions again with checks of their arguments, which takes two seconds.
    with mock.patch.object(typeguard, "typechecked", lambda function: function):
        import inflect

    engine = inflect.engine()
    # Words that are spelled letter by letter, and some that inflect says wrongly.
    for pattern in (*_AN_BEFORE_NUMBERS, *(rf"{word}(?!\w).*" for word in word_lists()["after_an"])):
        engine.defan(pattern)
    return engine
