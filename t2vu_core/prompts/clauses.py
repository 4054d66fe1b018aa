"""What else a subject does in its sentence, which leaves the scene with it: "in a meadow and eats grass, wagging its tail".

What cannot be told from a noun goes too: a scene with less in it is still a sentence, and a verb without a subject is not.
"""

from __future__ import annotations

import re
from itertools import pairwise

from t2vu_core.prompts import english

LONGEST_WORD = 60
_WORD = re.compile(r"[^\W\d_]+")
_OWN = r"(?:its|his|her|their)"
_LOOKING = "looking|staring|gazing|glaring|waiting|talking|smiling|laughing|singing|crying|screaming|barking|howling|waving"
_ASIDE = re.compile(rf",\s*{_OWN}\s+[^,.;:!?]+", re.IGNORECASE)
"""What a part of the subject does: ", its tail wagging"."""
_LATER = re.compile(
    rf"(?P<join>,?\s+(?:and\s+then|and|then|but|before|after|while)\s+|,\s*"
    rf"|\s+(?=[a-z]+ing\s+(?:an?|the|{_OWN})\s)|\s+(?=(?:{_LOOKING})\b))(?P<also>[a-z]+ly\s+)?"
    r"(?P<word>[^\W\d_]+(?:-[^\W\d_]+)*)",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[,.;:!?)\]]|\s(?:while|as|when|until)\s+(?:an?|the)\s", re.IGNORECASE)
_RELATIVE = re.compile(r"(?P<comma>,)?\s+(?:that|which|who)\s+", re.IGNORECASE)
_SUBORDINATE = r"(?:while|as|when|whenever|where|until|because|since)"
_NO_ROLE = r"(?<=\w)(?<!ed)(?<!such)(?<!known)(?<!same)"
"""Not before "dressed as" and the like."""
_OBJECT_NEXT = re.compile(rf"\s+(?:an?|the|{_OWN}|it|them|himself|herself|itself)\b", re.IGNORECASE)
_PREPOSITION_NEXT = re.compile(r"\s+(?:at|to|into|onto|toward|towards|like|up|down|away|off|out|around|back)\b", re.IGNORECASE)
_PRONOUN = re.compile(r"\b(?:it|its|itself|who|(?P<several>they|them|their|themselves))\b", re.IGNORECASE)
_DESCRIBED = r"(?:in|with|on|of|from|under)\s+(?P<words>[^,.;!?]+?)(?=\s(?:while|as|when|and)\s|[,.;!?]|$)"
_AFTER_SCENE = ("while", "as", "when", "with", "and", "or", "at", "in", "on", "by")
_SUBJECT_AND_VERB = re.compile(r"(?P<subject>[^\W\d_]+)(?P<also>\s+[a-z]+ly)?\s+(?P<verb>[^\W\d_]+)\b")
_AND_VERB = re.compile(r"(?P<join>\band\s+)(?P<verb>[^\W\d_]+)\b")


def without_later_actions(rest: str, *, several: bool) -> str:
    """The rest of a sentence without what else its lost subject does; `several` says that the subject was plural."""
    place, rest = 0, _ASIDE.sub("", rest)
    while found := _LATER.search(rest, place):
        if _acts(rest, found, several):
            end = _CLAUSE_END.search(rest, found.end())
            place, rest = found.start(), rest[: found.start()] + (rest[end.start() :] if end else "")
        else:
            place = found.start("word")
    return rest


def without_relative(rest: str, *, several: bool) -> str:
    """What follows a subject, without "that glows in the dark"; without "that" alone if no other verb follows."""
    found = _RELATIVE.match(rest)
    if found is None:
        return rest
    if found["comma"]:
        end = rest.find(",", found.end())
        return rest[end + 1 :] if end > 0 else ""
    words = list(_WORD.finditer(rest[found.end() :]))
    for before, word in pairwise(words[1:]):
        after_noun = "NOUN" in english.parts_of_speech(before.group())
        if after_noun and _is_finite(word.group(), several=several) and not english.is_plural(before.group()):
            return f" {rest[found.end() + word.start() :]}"
    return f" {rest[found.end() :]}"


def without_clauses_of(text: str, mark: str, several_mark: str) -> str:
    """The text without ", while X watches" and "and X watches" where X is a mark (a regular expression), and without "While X
    watches, ". `several_mark` is the mark of several.
    """

    def gone(found: re.Match[str]) -> str:
        if found["join"].lower() == "and":
            acts = any(_is_finite(found["word"], several=several) for several in (False, True))
        else:
            acts = any(_is_finite(word, several=found["mark"] == several_mark) for word in _WORD.findall(found["does"]))
        # "A cosplayer as X poses" has no other verb.
        another = found["join"].lower() not in ("as", "and") or has_verb(text[: found.start()])
        return "" if acts and another else found.group()

    text = re.sub(rf"^{_SUBORDINATE}\s+{mark}\s+[^,.;!?]+,\s*", "", text, flags=re.IGNORECASE)
    does = (
        rf"(?P<join>{_SUBORDINATE}|and)\s+(?P<mark>{mark})\s+(?=(?P<word>[^\W\d_]+))(?P<does>[^,.;:!?]+)(?:{_ASIDE.pattern})*"
    )
    return re.sub(rf"{_NO_ROLE},?\s+{does}", gone, text, flags=re.IGNORECASE)


def is_broken(text: str, empty: str) -> bool:
    """Whether a text that a subject has left is no sentence or caption: its verbs or pronouns have lost what they are about.

    `empty` is what stands for a scene without the subject.
    """
    pronoun = _PRONOUN.search(text)
    others = pronoun and pronoun["several"] and any(map(english.is_plural, _WORD.findall(text[: pronoun.start()])))
    if (pronoun and not others) or re.match(r"(?:each other|one another)\b", text, re.IGNORECASE):
        return True
    described = re.search(rf"{re.escape(empty)}\s+{_DESCRIBED}", text, re.IGNORECASE)
    if described and (has_verb(described["words"]) or _acts_after_plural(described["words"])):
        return True
    if re.search(rf"(?i:{re.escape(empty)}\s+)(?:as\s+an?\s|from\s+[A-Z])", text):
        # "as a knight", "from Frozen"
        return True
    found = re.search(rf"{re.escape(empty)}(?P<comma>,(?:\s+and)?)?\s+(?P<word>[^\W\d_]+)", text, re.IGNORECASE)
    if found is None:
        return False
    word, parts = found["word"].lower(), english.parts_of_speech(found["word"])
    if found["comma"]:
        # "An empty scene, green and shiny, coils around a branch"
        aside = re.match(r"[^,.;!?]*,\s*(?P<word>[^\W\d_]+)(?P<after>\s+\w+)?", text[found.start("word") :])
        if aside and english.is_present(aside["word"], several=False) and _OBJECT_NEXT.match(aside["after"] or ""):
            return True
        if aside and _only_describes(aside.group()[: aside.end("word")]) and english.is_present(aside["word"], several=False):
            return True
        return _is_finite(word, several=False) or word.endswith(("ing", "ed"))
    return word not in _AFTER_SCENE and (not english.is_function_word(word) or "VERB" in parts)


def _acts_after_plural(text: str) -> bool:
    """Whether a verb in the singular follows a plural, which is not its subject: "flashing lights stops"."""
    return any(
        english.is_plural(before) and "NOUN" in english.parts_of_speech(before) and english.is_present(word, several=False)
        for before, word in pairwise(_WORD.findall(text))
    )


def plural_acts_later(text: str, mark: str) -> bool:
    """Whether a plural subject acts at the end, behind a singular: "Snakes in a basket rise"; `mark` is the subject."""
    where = rf"{mark}\s+(?:in|with|on|of|from|under)\s+(?:an?|the)\s+(?P<before>[^\W\d_]+)\s+(?P<word>[^\W\d_]+)[.!?]?$"
    found = re.search(where, text)
    if found is None or not english.is_present(found["word"], several=True):
        return False
    parts = english.parts_of_speech(found["before"])
    return "NOUN" in parts and "ADJ" not in parts and not english.is_plural(found["before"])


def _only_describes(aside: str) -> bool:
    """Whether there are only adjectives and adverbs before the last word: "green and shiny, coils"."""
    return all({"ADJ", "ADV", "and"} & {*english.parts_of_speech(word), word} for word in _WORD.findall(aside)[:-1])


def has_verb(text: str) -> bool:
    """Whether a noun in the text has a verb in the present: "a woman leans", but not "two lamps" or "the rain"."""
    return any(
        english.is_present(word, several=False) and "NOUN" in english.parts_of_speech(before) and not english.is_plural(before)
        for before, word in pairwise(_WORD.findall(text))
    )


def agreeing(text: str) -> str:
    """ "a cat are dancing" and "a cat sit and look", which have lost one of two subjects: their verbs in the singular."""
    found = _first_disagreement(text)
    if found is None:
        return text
    one = _in_singular(found["verb"])
    start, rest = f"{text[: found.start('verb')]}{one}", text[found.end("verb") :]
    if one == "is":
        return start + rest
    return start + _AND_VERB.sub(lambda each: each["join"] + _in_singular(each["verb"]), rest, count=1)


def _first_disagreement(text: str) -> re.Match[str] | None:
    place = 0
    while found := _SUBJECT_AND_VERB.search(text, place):
        verb, subject = found["verb"].lower(), found["subject"].lower()
        named = found["subject"][0].isupper() and not english.parts_of_speech(subject)
        noun = (named or "NOUN" in english.parts_of_speech(subject)) and not english.is_function_word(subject)
        if _describes_next(text, found):
            place = found.end("subject")
            continue
        if verb == "are" or (noun and _is_base(verb)):
            others = re.search(r"\band\b", text[:place], re.IGNORECASE)
            return None if others or english.is_plural(subject) else found
        place = found.end("subject")
    return None


def _describes_next(text: str, found: re.Match[str]) -> bool:
    """Whether the two words are an adjective and its noun, which another verb follows: "black cat sit"."""
    following = _WORD.match(text, found.end() + 1)
    parts = english.parts_of_speech(found["subject"]), english.parts_of_speech(found["verb"])
    return "ADJ" in parts[0] and "NOUN" in parts[1] and following is not None and _is_base(following.group().lower())


def _is_base(word: str) -> bool:
    """Whether the word is a verb's base form and hardly anything else, for example "sit"."""
    return (
        word in english.verb_lemmas(word)
        and not {"ADJ", "ADV"} & set(english.parts_of_speech(word))
        and not english.is_function_word(word)
    )


def _in_singular(verb: str) -> str:
    return "is" if verb == "are" else english.third_person(verb) if _is_base(verb) else verb


def _acts(rest: str, found: re.Match[str], several: bool) -> bool:
    """Whether what was found is a verb of the lost subject, not another thing of the scene."""
    word, join, following = found["word"].lower(), found["join"].strip(" ,").lower(), rest[found.end() :]
    parts = english.parts_of_speech(word)
    if "VERB" not in parts or english.is_function_word(word):
        return False
    if word.endswith("ing"):
        return "NOUN" not in parts or bool(join and join != "and") or _OBJECT_NEXT.match(following) is not None
    if join and _is_past(word):
        return "ADJ" not in parts or bool(_OBJECT_NEXT.match(following) or _PREPOSITION_NEXT.match(following))
    if not _is_finite(word, several=several):
        return False
    if "NOUN" not in parts or found["also"] or _OBJECT_NEXT.match(following):
        return True
    if several or not join:
        # "sand and water", ", lights": things, unless a verb follows that goes on.
        return bool(_PREPOSITION_NEXT.match(following)) or _goes_on(following, several)
    return not english.is_plural(_word_before(rest, found))


def _is_past(word: str) -> bool:
    """Whether the word is a verb in the past and no noun: "disappeared"."""
    lemmas = english.verb_lemmas(word)
    return (
        bool(lemmas) and word not in lemmas and not word.endswith(("s", "ing")) and "NOUN" not in english.parts_of_speech(word)
    )


def _goes_on(following: str, several: bool) -> bool:
    """Whether another verb follows: ", blinks, and sneezes a flame"."""
    after = re.match(r"(?:,?\s+and\s+|,\s*)(?P<word>[^\W\d_]+)", following)
    if after is None or not _is_finite(after["word"], several=several):
        return False
    return "NOUN" not in english.parts_of_speech(after["word"]) or bool(_OBJECT_NEXT.match(following, after.end()))


def _is_finite(word: str, *, several: bool) -> bool:
    """Whether the word can be a verb in the present of a subject in that number, or an auxiliary."""
    return word.lower() in english.word_lists()["auxiliaries"] or english.is_present(word, several=several)


def _word_before(text: str, found: re.Match[str]) -> str:
    words = _WORD.findall(text[max(0, found.start() - LONGEST_WORD) : found.start()])
    return str(words[-1]) if words else ""
