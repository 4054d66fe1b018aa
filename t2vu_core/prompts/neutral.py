"""A given prompt without the concept: the user's own, or a language model's."""

from __future__ import annotations

import re
from collections.abc import Sequence

from t2vu_core.mentions import STYLE_STARTS, mentions
from t2vu_core.prompts import english
from t2vu_core.prompts.concept import Concept
from t2vu_core.prompts.neutral_subjects import GAP, GAPS, mark_subjects, without_subject
from t2vu_core.prompts.pairs import PromptPair, tidy
from t2vu_core.prompts.wording import A_PERSON, EMPTY_AGAIN, SUBJECT_KINDS, as_style, attached, does

_STYLE_BEFORE = "|".join(re.escape(start.strip()) for start in STYLE_STARTS)
_HAVING_WORDS = ("with", "wearing", "having", "in", "and")
_HAVING = rf"(?:{'|'.join(_HAVING_WORDS)})"
_SOMEWHERE = (
    r"(?:\s+(?:in|at|on|across|over|along)\s+(?:the|one|each|every)\s+(?:[a-z]+\s+)?"
    r"(?:corners?|bottom|top|edges?|sides?|middle|center|screen|frame|picture|image))?"
)
"""Where something lies over a picture."""
_LOWER_START = re.compile(r"(?:^|(?<=[.!?])\s+)[^\W\d_]")


def without_concepts(text: str, concepts: Sequence[Concept]) -> str:
    """The prompt without any of the concepts; empty if it says none of them."""
    changed = text
    for concept in concepts:
        changed = _without(changed, concept)
    return "" if changed == text else _cased_as(tidy(changed), text)


def _cased_as(changed: str, text: str) -> str:
    """With a capital at the start of every sentence if each of the text's has one, and that is not the capital of a name."""
    starts = [found.group().strip() for found in _LOWER_START.finditer(text)]
    sentences = len(starts) > 1 or text.rstrip().endswith(".") or bool(re.match(r"(?:An?|The|One|Two|Three|Several)\s", text))
    if not (starts and sentences and all(map(str.isupper, starts))):
        return changed
    return _LOWER_START.sub(lambda found: found.group().upper(), changed)


def with_gap(pair: PromptPair, concept: Concept) -> str:
    """The prompt of a pair with "{}" where it says the concept, and without it elsewhere."""
    if concept.kind not in SUBJECT_KINDS:
        return f"{pair.neutral} {{}}".strip()
    text = pair.prompt
    for name in sorted(concept.names, key=len, reverse=True):
        text = mark_subjects(text, concept, name, compounds=False)
    return text.replace(GAPS, GAP).replace(GAP, "{}", 1).replace(GAP, EMPTY_AGAIN)


def _without(text: str, concept: Concept) -> str:
    if concept.kind in SUBJECT_KINDS:
        return without_subject(text, concept)
    for name in sorted(concept.names, key=len, reverse=True):
        if concept.kind == "style":
            text = _without_style(text, name, concept.replacement)
        elif concept.kind == "attribute":
            text = _without_attribute(text, name, concept.replacement)
        else:
            text = _without_act(text, name, concept.replacement)
    return text


def _without_style(text: str, name: str, replacement: str) -> str:
    """ "in noir style" goes as a whole, "a noir picture" becomes "a picture"."""
    own = mentions(name).pattern
    if name.lower().startswith("with ") and not replacement:
        text = re.sub(rf"\s+with\s+(?:[^\W\d_]+\s+){{0,2}}{own}{_SOMEWHERE}", "", text, flags=re.IGNORECASE)
    whole = re.compile(rf"(?<!\w)(?:{_STYLE_BEFORE})\s+(?:an?\s+|the\s+)?{own}(?:\s+styles?(?!\w))?", re.IGNORECASE)
    text = whole.sub(as_style(replacement) if replacement else "", text)
    text = re.sub(rf"{own}\s+styles?(?!\w)", "", text, flags=re.IGNORECASE)
    return _drop(text, mentions(name))


def _without_attribute(text: str, name: str, replacement: str) -> str:
    own = mentions(name).pattern
    if replacement:
        return re.sub(rf"(?:\b(?:an?|the)\s+)?{own}", english.with_article(replacement), text, flags=re.IGNORECASE)
    if english.is_adjective(name):
        return _drop(text, mentions(name))
    for found in reversed(list(mentions(name).finditer(text))):
        before, after = _before_attribute(text[: found.start()]), text[found.end() :]
        having, another = re.search(rf"\s+{_HAVING}$", before), re.match(r"\s+and\s+(?=\w)", after)
        if re.search(r"['’]s$|\b(?:my|his|her|their)$", before):
            # "the girl's red hair blows": she still has hair.
            text = f"{before} {english.head(name)}{after}"
        elif having and another:
            text = f"{before} {after[another.end() :]}"
        else:
            text = f"{before[: having.start()] if having else before} {after}"
    return text


def _before_attribute(text: str) -> str:
    """The text before an attribute's article and adjectives: "a woman with" of "a woman with long "."""
    words = text.rstrip()
    while found := re.search(r"(?:^|\s)([^\W\d_]+)$", words):
        word = found[1].lower()
        if word not in ("a", "an", "the") and ("ADJ" not in english.parts_of_speech(word) or word in _HAVING_WORDS):
            break
        words = words[: found.start()].rstrip()
    return words


def _without_act(text: str, name: str, replacement: str) -> str:
    """An adjective becomes the replacement's, a doing goes, and a noun becomes people who do not do it."""
    pattern = mentions(name)
    if english.is_adjective(name):
        return _drop(text, pattern, replacement if english.is_adjective(replacement) else "")
    if does(name):
        left = pattern.sub("" if english.is_adjective(replacement) else replacement, text)
        return left if left.strip() else attached(A_PERSON, replacement, "act")
    people = f"{replacement} people" if english.is_adjective(replacement) else f"people {replacement}"
    return re.sub(rf"(?:\b(?:an?|the)\s+)?{pattern.pattern}", people, text, flags=re.IGNORECASE)


def _drop(text: str, pattern: re.Pattern[str], instead: str = "") -> str:
    """Replace what the pattern finds, and mend the "a" or "an" before it."""

    def mended(found: re.Match[str]) -> str:
        words = f"{instead} {found['next']}" if instead else found["next"]
        return f"{english.indefinite(words)}" if found["article"] else words

    joint = re.compile(rf"(?:(?P<article>\ban?)\s+)?{pattern.pattern}\s+(?P<next>[^\W\d_]+)", re.IGNORECASE)
    return pattern.sub(instead, joint.sub(mended, text))
