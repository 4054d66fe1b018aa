"""A given prompt without the concept: the user's own, or a language model's."""

from __future__ import annotations

import re
from collections.abc import Sequence

from t2vu_core.mentions import STYLE_STARTS, mentions, without_weights
from t2vu_core.prompts import english
from t2vu_core.prompts.concept import Concept
from t2vu_core.prompts.neutral_subjects import GAP, GAPS, HELD, SOMETHING, mark_subjects, without_subject
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
_LOOK = r"(?:[\s-](?:styles?|inspired|like|themed|toned|tones?|aesthetics?|looks?|vibes?)(?!\w))"
"""What is said after a style's name: "anime-inspired", "sepia tones"."""
_A_PICTURE = "a picture"
_OF_HIS = r"(?P<before>\b(?:of|into|with)\s+)?(?P<owner>\b(?:his|her|their|its|my|your|our)\s+)?"
_ITS = re.compile(r"['’]s$|\b(?:my|your|his|her|its|our|their|whose)$", re.IGNORECASE)
_HAS = re.compile(r"\s+(?:has|have|had)$", re.IGNORECASE)
_IS = re.compile(r"\b(?:is|are|was|were|be|being)\s+$", re.IGNORECASE)
_IN_A = re.compile(r"\S+\s+(?:an?|the)\s(?!(?:style|manner)\b)", re.IGNORECASE)
_ON = re.compile(r"^\s+(?:on|in|at)\b", re.IGNORECASE)
_SOMEBODY = (
    r"(?:(?:an?|the|his|her|their|its)\s+(?!on\b|in\b|and\b)[^\W\d_]+|him|her|them|it|some(?:one|body)|(?:each|one an)other)"
)
_PLACE = r"(?:cheek|lip|mouth|forehead|head|hand|nose|face|neck|shoulder|back)s?"
_OBJECT = rf"(?:\s+{_SOMEBODY})?(?:\s+on\s+(?:the|his|her|their|its|each other['’]s)\s+{_PLACE})?"
"""What somebody does it to, and where."""
_NEGATED = r"(?:,?\s*(?:\b(?:with|and)\s+))?\b(?:no|not|never|without)[\s-]+(?:any\s+)?"
_PREDICATE = r"\s+(?:is|are|was|were|looks?|appears?)\s+(?:(?:all|drawn|painted|shot|filmed|made|rendered|done|animated)\s+)*"
_LIES_OVER = (
    r"\s+(?:is|are|appears?|lies?|floats?|covers?|fills?)\s*(?:(?:clearly|faintly|barely)\s+)?"
    r"(?:visible|seen|shown|placed|overlaid|printed|stamped)?\s*(?:over|on|in|across|at|above)?\s+(?:top\s+of\s+)?(?=(?:an?|the)\s)"
)
"""What is said of something that lies over a picture, where it is the subject."""
_ON_TOP_OF = r"\s+(?:on|over|across)\s+(?:top\s+of\s+)?(?=(?:an?|the)\s)"
_LOWER_START = re.compile(r"(?:^|(?<=[.!?])\s+)[^\W\d_]")


def without_concepts(text: str, concepts: Sequence[Concept]) -> str:
    """The prompt without any of the concepts; empty if it says none of them."""
    plain = without_weights(text, [name for concept in concepts for name in concept.names])
    changed = plain
    for concept in concepts:
        changed = _without(changed, concept)
    return "" if changed == plain else _cased_as(tidy(changed), text)


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
        text = re.sub(f"{_NEGATED}{mentions(name).pattern}", "", text, flags=re.IGNORECASE)
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
    if not replacement:
        text = re.sub(
            rf"(?:^|(?<=[.!?]\s))(?:(?:an?|the)\s+)?{own}(?:{_LIES_OVER}|{_ON_TOP_OF})", "", text, flags=re.IGNORECASE
        )
        style = rf"(?:(?:{_STYLE_BEFORE})\s+)?(?:an?\s+|the\s+)?{own}{_LOOK}?(?=\s*(?:[.,;!?]|$))"
        text = re.sub(f"{_PREDICATE}{style}", "", text, flags=re.IGNORECASE)
    whole = re.compile(rf"(?<!\w)(?:{_STYLE_BEFORE})\s+(?:an?\s+|the\s+)?{own}{_LOOK}?(?P<noun>\s+[^\W\d_]+)?", re.IGNORECASE)

    def gone(found: re.Match[str]) -> str:
        noun = found["noun"] or ""
        if _IN_A.match(found.group()) and _is_noun(noun.strip()):
            # "in an anime world": the world stays.
            return found.group()
        return f"{as_style(replacement) if replacement else ''}{noun}"

    # "an oil painting of a harbor": something still shows the harbor.
    text = re.sub(rf"\b(?P<article>an?|the)\s+{own}(?=\s+(?:of|with|showing)\s)", _A_PICTURE, text, flags=re.IGNORECASE)
    text = _drop(whole.sub(gone, text), re.compile(f"{own}{_LOOK}", re.IGNORECASE))
    text = _drop(text, mentions(name))
    return text if not replacement or as_style(replacement) in text else f"{text}, {as_style(replacement)}"


def _is_noun(word: str) -> bool:
    return "NOUN" in english.parts_of_speech(word) and not english.is_function_word(word)


def _without_attribute(text: str, name: str, replacement: str) -> str:
    own = mentions(name).pattern
    if replacement:
        return re.sub(rf"(?:\b(?:an?|the)\s+)?{own}", english.with_article(replacement), text, flags=re.IGNORECASE)
    if english.is_adjective(name):
        return _drop(text, mentions(name))
    for found in reversed(list(mentions(name).finditer(text))):
        before, after = _before_attribute(text[: found.start()]), text[found.end() :]
        having, another = (
            re.search(rf"(?:\s+(?:covered|dressed|clad))?\s+{_HAVING}$", before),
            re.match(r"\s+and\s+(?=\w)", after),
        )
        if _ITS.search(before):
            # "the girl's red hair blows": she still has hair.
            text = f"{before} {english.head(name)}{after}" if " " in name else f"{_ITS.sub(_no_longer, before)}{after}"
        elif has := _HAS.search(before):
            keeps = another and english.DETERMINER.match(after, another.end())
            text = f"{before if keeps else before[: has.start()]} {after[another.end() :] if another else after}"
        elif having and another:
            text = f"{before} {after[another.end() :]}"
        else:
            after = re.sub(f"^{HELD}", "", after, flags=re.IGNORECASE) if having else after
            before = before[: having.start()] if having else before
            text = f"{before} {_ON.sub('', after) if before.endswith(' of') else after}"
    return text


def _no_longer(owner: re.Match[str]) -> str:
    """ "his tattoos" are something, and "the shirt's logo" the shirt."""
    return SOMETHING if owner.group().isalpha() else ""


def _before_attribute(text: str) -> str:
    """The text before an attribute's article and adjectives: "a woman with" of "a woman with long "."""
    words = text.rstrip()
    while found := re.search(r"(?:^|\s)([^\W\d_]+)$", words):
        word = found[1].lower()
        kind = _is_noun(word) and re.search(r"\b(?:an?|the)\s+(?:[^\W\d_]+\s+)?$", words[: found.start(1)], re.IGNORECASE)
        adjective = "ADJ" in english.parts_of_speech(word) and word not in _HAVING_WORDS
        if not (word in ("a", "an", "the") or adjective or kind):
            break
        words = words[: found.start()].rstrip()
    return words


def _without_act(text: str, name: str, replacement: str) -> str:
    """An adjective becomes the replacement's, a doing goes, and a noun becomes people who do not do it."""
    pattern = mentions(name)
    if english.is_adjective(name):
        return _drop(text, pattern, replacement if english.is_adjective(replacement) else "")
    if does(name):
        text = re.sub(f"{_OF_HIS}(?P<noun>{pattern.pattern})", _as_something, text, flags=re.IGNORECASE)
        left = re.sub(f"{pattern.pattern}{_OBJECT}", lambda found: _not_doing(found, replacement), text, flags=re.IGNORECASE)
        return left if left.strip() else attached(A_PERSON, replacement, "act")
    people = f"{replacement} people" if english.is_adjective(replacement) else f"people {replacement}"
    for found in reversed(list(pattern.finditer(text))):
        text = f"{_before_attribute(text[: found.start()])} {people}{text[found.end() :]}"
    return text


def _as_something(found: re.Match[str]) -> str:
    """ "wipes her tears" is "wipes something"."""
    noun = (found["before"] or found["owner"]) and english.is_plural(found["noun"])
    return f"{found['before'] or ''}{SOMETHING}" if noun else found.group()


def _not_doing(found: re.Match[str], replacement: str) -> str:
    """What somebody is instead of doing it: "is smoking" becomes "is calm", "smokes" "is calm", and "smoking" nothing."""
    if not english.is_adjective(replacement):
        return replacement
    if _IS.search(found.string[: found.start()]):
        return replacement
    doing = found.group().split()[0].lower()
    return f"is {replacement}" if english.is_present(doing, several=False) else ""


def _drop(text: str, pattern: re.Pattern[str], instead: str = "") -> str:
    """Replace what the pattern finds, and mend the "a" or "an" before it."""

    def mended(found: re.Match[str]) -> str:
        words = f"{instead} {found['next']}" if instead else found["next"]
        return f"{english.indefinite(words)}" if found["article"] else words

    joint = re.compile(rf"(?:(?P<article>\ban?)\s+)?{pattern.pattern}\s+(?P<next>[^\W\d_]+)", re.IGNORECASE)
    return pattern.sub(instead, joint.sub(mended, text))
