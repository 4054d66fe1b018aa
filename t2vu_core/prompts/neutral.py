"""A given prompt without the concept: the user's own, or a language model's."""

from __future__ import annotations

import re
from collections.abc import Sequence

from t2vu_core.mentions import STYLE_STARTS, mentions, without_spaces
from t2vu_core.prompts import english
from t2vu_core.prompts.concept import Concept
from t2vu_core.prompts.pairs import PromptPair, tidy
from t2vu_core.prompts.wording import EMPTY_AGAIN, EMPTY_SCENE, SUBJECT_KINDS, as_style, does

GAP = "\ufffc"
"""Marks where a name was: no prompt contains it."""
SOMETHING = "something"
"""Replaces the object of a sentence if nothing better is known."""
_DETERMINER = re.compile(
    r"(?:an?|the|some|my|your|his|her|our|their|this|that|these|those|one|two|three|several|many|every|each)", re.IGNORECASE
)
_WORD_BEFORE = re.compile(r"[^\W\d_]+")
_BESIDE = r"(?:together with|along with|with|next to|beside|behind|near|in front of|alongside)"
_OPENING = re.compile(
    r"(?:^|\b(?:of|shows?|sees?|features?|opens on|follows?|there (?:is|are))\s|[.:(\[{\"“'|,]\s*)$", re.IGNORECASE
)
"""Before the first subject of a sentence."""
_STYLE_BEFORE = "|".join(re.escape(start.strip()) for start in STYLE_STARTS)
_HAVING = r"(?:with|wearing|having|and)"


def without_concepts(text: str, concepts: Sequence[Concept]) -> str:
    """The prompt without any of the concepts; empty if it says none of them."""
    changed = text
    for concept in concepts:
        changed = _without(changed, concept)
    return "" if changed == text else tidy(changed)


def with_gap(pair: PromptPair, concept: Concept) -> str:
    """The prompt of a pair with "{}" where it says the concept, and without it elsewhere."""
    if concept.kind not in SUBJECT_KINDS:
        return f"{pair.neutral} {{}}".strip()
    text = pair.prompt
    for name in sorted(concept.names, key=len, reverse=True):
        text = _mark_subjects(text, concept, name)
    return text.replace(GAP, "{}", 1).replace(GAP, EMPTY_AGAIN)


def _without(text: str, concept: Concept) -> str:
    for name in sorted(concept.names, key=len, reverse=True):
        if concept.kind in SUBJECT_KINDS:
            text = _mark_subjects(text, concept, name)
        elif concept.kind == "style":
            text = _without_style(text, name, concept.replacement)
        elif concept.kind == "attribute":
            text = _without_attribute(text, name, concept.replacement)
        else:
            text = _without_act(text, name, concept.replacement)
    return _fill_gaps(text, concept) if GAP in text else text


def _mark_subjects(text: str, concept: Concept, name: str) -> str:
    """Every mention, with its article and adjectives, as a gap; what belongs to it keeps its own article."""
    for found in reversed(list(mentions(name).finditer(text))):
        start, end = found.span()
        determiner, first = ("", start) if without_spaces(name) else _words_before(text, start)
        if found["possessive"] and concept.replacement == EMPTY_SCENE:
            text = f"{text[:first]}{determiner}{text[end:] if determiner else text[end:].lstrip()}"
        else:
            text = f"{text[:first]}{GAP}{found['possessive'] or ''}{text[end:]}"
    return text


def _words_before(text: str, start: int) -> tuple[str, int]:
    """The article before a name, and where it begins, with adjectives between the two; the name's own place if it has none."""
    place, words = start, list(_WORD_BEFORE.finditer(text[:start]))
    for word in reversed(words[-4:]):
        if text[word.end() : place].strip():
            break
        place = word.start()
        if _DETERMINER.fullmatch(word.group()):
            return word.group(), place
        if "ADJ" not in english.parts_of_speech(word.group()):
            break
    return "", start


def _fill_gaps(text: str, concept: Concept) -> str:
    """What stands in the concept's place; nothing next to a second subject if the concept leaves the scene."""
    if concept.replacement != EMPTY_SCENE:
        return text.replace(GAP, concept.replacement)
    shorter = re.sub(rf"{GAP}(?:\s*(?:,|and)\s*{GAP})+", GAP, text)
    shorter = re.sub(rf"{GAP}\s*(?:\band\s+(?=[\w(])|,\s*(?={_DETERMINER.pattern}\s))", "", shorter, flags=re.IGNORECASE)
    shorter = re.sub(rf"(?<=[\w)])\s*(?:\s(?:and|{_BESIDE})\s+{GAP}|,\s*{GAP}(?=,|$))", "", shorter, flags=re.IGNORECASE)
    if GAP not in shorter:
        return re.sub(r"\bare\b", "is", shorter, count=1)
    otherwise = next((other for other in concept.replacements if other != EMPTY_SCENE), SOMETHING)
    first, *rest = shorter.split(GAP)
    for part in rest:
        first += (EMPTY_SCENE if _OPENING.search(first) and EMPTY_SCENE not in first else otherwise) + part
    return first


def _without_style(text: str, name: str, replacement: str) -> str:
    """ "in noir style" goes as a whole, "a noir picture" becomes "a picture"."""
    own = mentions(name).pattern
    whole = re.compile(rf"(?<!\w)(?:{_STYLE_BEFORE})\s+(?:an?\s+|the\s+)?{own}(?:\s+styles?(?!\w))?", re.IGNORECASE)
    text = whole.sub(as_style(replacement) if replacement else "", text)
    text = re.sub(rf"{own}\s+styles?(?!\w)", "", text, flags=re.IGNORECASE)
    return _drop(text, mentions(name))


def _without_attribute(text: str, name: str, replacement: str) -> str:
    own = mentions(name).pattern
    if replacement:
        return re.sub(rf"(?:\b(?:an?|the)\s+)?{own}", english.with_article(replacement), text, flags=re.IGNORECASE)
    text = re.sub(rf"\s+{_HAVING}\s+(?:an?\s+|the\s+)?{own}", "", text, flags=re.IGNORECASE)
    return _drop(text, mentions(name))


def _without_act(text: str, name: str, replacement: str) -> str:
    """An adjective becomes the replacement's, a doing goes, and a noun becomes people who do not do it."""
    pattern = mentions(name)
    if english.is_adjective(name):
        return _drop(text, pattern, replacement if english.is_adjective(replacement) else "")
    if does(name):
        return pattern.sub("" if english.is_adjective(replacement) else replacement, text)
    people = f"{replacement} people" if english.is_adjective(replacement) else f"people {replacement}"
    return re.sub(rf"(?:\b(?:an?|the)\s+)?{pattern.pattern}", people, text, flags=re.IGNORECASE)


def _drop(text: str, pattern: re.Pattern[str], instead: str = "") -> str:
    """Replace what the pattern finds, and mend the "a" or "an" before it."""

    def mended(found: re.Match[str]) -> str:
        words = f"{instead} {found['next']}" if instead else found["next"]
        return f"{english.indefinite(words)}" if found["article"] else words

    joint = re.compile(rf"(?:(?P<article>\ban?)\s+)?{pattern.pattern}\s+(?P<next>[^\W\d_]+)", re.IGNORECASE)
    return pattern.sub(instead, joint.sub(mended, text))
