"""What a subject does in its sentence, which leaves the scene with it: "a ghost flies over a lake" becomes "a lake"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from t2vu_core.prompts import english
from t2vu_core.prompts.clauses import without_later_actions, without_relative
from t2vu_core.prompts.subject_marks import ANY, DETERMINER, GAP, GAPS, NEXT_WORD, is_verb

_TO_VIEWER = re.compile(r"\s+(?:at|to|towards?|into)\s+(?:the|a)\s+(?:camera|viewer|lens|audience)", re.IGNORECASE)
_PRONOUN = re.compile(r"(?:me|you|him|us|them|it)\b|her\b(?!\s+[^\W\d_])", re.IGNORECASE)
_OWN_OBJECT = re.compile(r"\s+(?:its|his|her|their)\s+[^\W\d_]+", re.IGNORECASE)
_ADVERBS = ("not", "also", "just", "then", "now", "still", "upside")
_AT_SOMETHING = re.compile(rf"\s+at\s+(?={DETERMINER.pattern}\s)", re.IGNORECASE)


def after_actions(gap: str, rest: str, *, led: bool = False) -> tuple[str, str]:
    """The mark and the rest of its sentence, without what the subject does in the sentence.

    `led` says that the sentence begins with something else, without a comma: "Every night".
    """
    rest = without_relative(rest, several=gap == GAPS)
    left, changed = _after_action(gap, rest, led=led)
    if changed == rest:
        return left, rest
    own = re.split(f"(?={ANY})", changed, maxsplit=1)
    return left, "".join([without_later_actions(own[0], several=gap == GAPS), *own[1:]])


def _after_action(gap: str, rest: str, *, led: bool) -> tuple[str, str]:
    """The mark and the rest of its sentence without the verbs between them; no mark where an object or a place remains."""
    end = _end_of_verbs(rest, several=gap == GAPS)
    if not end:
        return gap, rest
    rest = rest[end:]
    for pattern in (_TO_VIEWER, _OWN_OBJECT):
        if found := pattern.match(rest):
            return gap, rest[found.end() :]
    if found := _place_before().match(rest):
        if somebody := _PRONOUN.match(rest, found.end()):
            return gap, rest[somebody.end() :]
        if led:
            # "Every night along the pier"
            return "", rest
    if found := _AT_SOMETHING.match(rest) or _place_before().match(rest):
        return "", rest[found.end() :]
    if rest.lstrip()[:1] in (GAP, GAPS):
        # "a ghost chases another ghost"
        return gap, rest.lstrip()[1:]
    following = NEXT_WORD.match(rest)
    if following is None:
        return gap, rest
    word = following["word"]
    known = english.knows_word(word) or word[0].isupper()
    is_object = DETERMINER.fullmatch(word) or (known and not english.is_function_word(word))
    return ("", f"{', ' if led else ''}{rest.lstrip()}") if is_object else (gap, rest)


def _end_of_verbs(rest: str, *, several: bool) -> int:
    """Where the verbs after a subject end: auxiliaries, adverbs, the verb itself, what follows "is", a particle; 0 without."""
    end, acted, helped, words = 0, False, False, list[re.Match[str]]()
    while found := NEXT_WORD.match(rest, words[-1].end() if words else 0):
        words.append(found)
    for index, found in enumerate(words):
        word = found["word"].lower()
        following = words[index + 1]["word"].lower() if index + 1 < len(words) else ""
        if word in english.word_lists()["auxiliaries"] and not acted:
            helped = True
        elif "ADV" in english.parts_of_speech(word) and (word.endswith("ly") or word in _ADVERBS):
            if not (helped or acted or is_verb(following, several, helped)):
                break
        elif not acted and is_verb(word, several, helped):
            acted = True
        elif acted and word == "and" and is_verb(following, several, helped):
            acted = False
            continue
        elif helped and not acted and not english.is_function_word(word):
            pass
        elif acted and f"{word} {following}" in english.word_lists()["prepositions_of_place"]:
            break
        elif acted and word in english.word_lists()["particles"] and not _takes_object(following):
            return found.end()
        else:
            break
        end = found.end()
    return end if acted or helped else 0


def _takes_object(word: str) -> bool:
    return bool(word) and (bool(DETERMINER.fullmatch(word)) or not english.is_function_word(word))


def _place_before() -> re.Pattern[str]:
    """A preposition whose object is a place or thing that the scene can show without the concept."""
    words: Sequence[str] = english.word_lists()["prepositions_of_place"]
    return re.compile(rf"\s+(?:{'|'.join(words)})\s+(?=[\w(])", re.IGNORECASE)
