"""A given prompt without the concept: the user's own, or a language model's."""

from __future__ import annotations

import re
from collections.abc import Sequence

from t2vu_core.mentions import STYLE_STARTS, mentions, people, without_weights
from t2vu_core.prompts import english
from t2vu_core.prompts.compounds import without_quotes
from t2vu_core.prompts.concept import Concept
from t2vu_core.prompts.finished import A_PICTURE, instead_of_all, is_dangling
from t2vu_core.prompts.neutral_subjects import HELD, SOMETHING, without_subject
from t2vu_core.prompts.pairs import PromptPair, tidy
from t2vu_core.prompts.subject_marks import GAP, GAPS, is_noun_before, mark_subjects
from t2vu_core.prompts.wording import A_PERSON, EMPTY_AGAIN, SUBJECT_KINDS, as_style, attached, does

_STYLE_BEFORE = "|".join(re.escape(start.strip()) for start in STYLE_STARTS)
_HAVING_WORDS = ("with", "wearing", "having", "in", "and")
_HAVING = rf"(?:{'|'.join(_HAVING_WORDS)})"
_SOMEWHERE = (
    r"(?:\s+(?:in|at|on|across|over|along)\s+(?:the|one|each|every)\s+(?:[a-z]+\s+)?"
    r"(?:corners?|bottom|top|edges?|sides?|middle|center|screen|frame|picture|image|background|foreground)|\s+on\s+(?:it|them|top)\b)?"
)
"""Where something lies over a picture."""
_LOOK = r"(?:[\s-](?:styles?|inspired|like|themed|toned|tones?|aesthetics?|looks?|vibes?)(?!\w))"
"""What is said after a style's name: "anime-inspired", "sepia tones"."""
_SHOWING = "of|with|showing|about|where|which|that|featuring|set|by|from|in"
_WATCHED = r"(?P<verb>\b(?:watch|read|love|like|enjoy|draw|make|see|prefer)(?:s|es|ing|ed)?)\s+"
"""Before a style that is meant as a picture: "watching anime"."""
_PREPOSITION = r"(?:on|at|in|with|while|and|together|all)"
_DATED = r"(?:(?:early|late|old|vintage|retro|classic|modern|'?\d{2,4}['’]?s|\d{4})\s+){0,2}"
""" "90s anime" """
_OF_HIS = r"(?P<before>\b(?:of|into|with)\s+)?(?P<owner>\b(?:his|her|their|its|my|your|our)\s+)?"
_ITS = re.compile(r"['’]s$|\b(?:my|your|his|her|its|our|their|whose)$", re.IGNORECASE)
_HAS = re.compile(r"\s+(?:has|have|had)$", re.IGNORECASE)
_IS_WORDS = ("is", "are", "was", "were", "has", "have")
_IS_SO = re.compile(r"\s+(?:is|are|was|were)\s+[^,.;!?]+")
_OF_WHAT = re.compile(r"^\s+of\s+(?:an?|the)\s+[^\W\d_]+")
_ARTICLED = re.compile(r"\b(?:an?|the)\s+(?:[^\W\d_]+\s+)?$", re.IGNORECASE)
_HELD_AT = re.compile(rf"^{HELD}(?:\s+and\s+[^\W\d_]+)?", re.IGNORECASE)
_SOMEBODY_ALONE = re.compile(r"^(?:he|she|they)(?=\s|[.,;!?]|$)", re.IGNORECASE)
_IS = re.compile(r"\b(?:is|are|was|were|be|being)\s+$", re.IGNORECASE)
_IN_A = re.compile(r"\S+\s+(?:an?|the)\s(?!(?:style|manner)\b)", re.IGNORECASE)
_ON = re.compile(r"^\s+(?:on|in|at)\b", re.IGNORECASE)
_SOMEBODY = (
    r"(?:(?:an?|the|his|her|their|its)\s+(?:(?:last|first|own|new|old|little|young|big|small|long|whole)\s+)?(?!on\b|in\b|and\b)"
    r"[^\W\d_]+(?:['’]s\s+[^\W\d_]+)?|him|her|them|it|some(?:one|body)|(?:each|one an)other)"
)
_PLACE = r"(?:cheek|lip|mouth|forehead|head|hand|nose|face|neck|shoulder|back)s?"
_MANNER = r"(?:\s+(?:good-?bye|good\s?night|hello|[a-z]+ly)\b)?"
_OBJECT = rf"(?:\s+{_SOMEBODY})?(?:\s+on\s+(?:the|his|her|their|its|each other['’]s)\s+{_PLACE})?{_MANNER}"
"""What somebody does it to, and where."""
_AN = r"(?:\b(?:an?|the)\s+(?:[a-z]+\s+)?)?"
_OWNER = rf"(?:(?P<owner>{_AN}[^\W\d_]+)(?:['’]s|(?<=s)['’])|\b(?:my|your|his|her|our|their))"
""" "the old woman's", "her" """
_NEGATED = r"(?:,?\s*(?:\b(?:with|and)\s+))?\b(?:no|not|never|without)[\s-]+(?:any\s+)?"
_PREDICATE = r"\s+(?:is|are|was|were|looks?|appears?)\s+(?:(?:all|drawn|painted|shot|filmed|made|rendered|done|animated)\s+)*"
_LIES_OVER = (
    r"\s+(?:is|are|appears?|lies?|floats?|covers?|fills?|streaks?|flickers?|drifts?|shines?|scrolls?)\s*(?:(?:clearly|faintly|barely)\s+)?"
    r"(?:visible|seen|shown|placed|overlaid|printed|stamped)?\s*(?:over|on|in|across|at|above)?\s+(?:top\s+of\s+)?(?=(?:an?|the)\s)"
)
"""What is said of something that lies over a picture, where it is the subject."""
_ON_TOP_OF = r"\s+(?:on|over|across)\s+(?:top\s+of\s+)?(?=(?:an?|the)\s)"
_ARTICLE_FIRST = re.compile(r"(?:An?|The|One|Two|Three|Several)\s")
_LOWER_START = re.compile(r"(?:^|(?<=[.!?])\s+)[^\W\d_]")


_PRONOUNS = ("he", "she", "it", "they", "we", "you", "i", "who")
_HAPPENS = r"(?:breaks\s+out|broke\s+out|starts|begins|erupts|happens|ensues|takes\s+place)\b"
_COMMITS = r"\b(?:commits|performs|practi[cs]es|attempts)"
_A_NOUN = r"\b(?:an?|the|one|another|their)\s+(?:[^\W\d_]+\s+)?"
_AFTER_NOUN = r"(?:between|with|of|on|in|at|from|under|after)"


def without_concepts(text: str, concepts: Sequence[Concept]) -> str:
    """The prompt without any of the concepts; empty if it says none of them."""
    names = [name for concept in concepts for name in concept.names]
    plain = without_weights(text, names)
    changed = without_quotes(plain, names)
    for concept in concepts:
        changed = _without(changed, concept)
    if changed == plain:
        return ""
    changed = _cased_as(tidy(changed), text, names)
    return instead_of_all(concepts[0]) if is_dangling(changed, text) else changed


def _cased_as(changed: str, text: str, names: Sequence[str]) -> str:
    """With a capital at the start of every sentence if each of the text's has one, and that is not the capital of a name."""
    starts = [found.group().strip() for found in _LOWER_START.finditer(text)]
    first = re.match(r"[^\W\d_]+", text)
    word = bool(first and english.knows_word(first.group()) and not any(mentions(name).match(text) for name in names))
    sentences = len(starts) > 1 or text.rstrip().endswith(".") or word or bool(_ARTICLE_FIRST.match(text))
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
    whole = re.compile(
        rf"(?<!\w)(?:{_STYLE_BEFORE})\s+(?:an?\s+|the\s+)?{_DATED}{own}{_LOOK}?(?P<noun>\s+[^\W\d_]+)?", re.IGNORECASE
    )

    def gone(found: re.Match[str]) -> str:
        noun = found["noun"] or ""
        if _IN_A.match(found.group()) and _is_noun(noun.strip()):
            # "in an anime world": the world stays.
            return found.group()
        return f"{as_style(replacement) if replacement else ''}{noun}"

    # "an oil painting of a harbor": something still shows the harbor.
    text = re.sub(rf"\b(?P<article>an?|the)\s+{own}(?=\s+(?:{_SHOWING})\s)", A_PICTURE, text, flags=re.IGNORECASE)
    text = re.sub(rf"(?:^|(?<=[.,]\s)){own}(?=\s+of\s)", A_PICTURE, text, flags=re.IGNORECASE)
    text = re.sub(rf"\b(this|that)\s+{own}(?=\s*[.,;!?]|\s*$)", r"\1 picture", text, flags=re.IGNORECASE)
    text = re.sub(rf"((?-i:[A-Z])\w*)\s+(?:and|or|&|\+)\s+{own}(?!\w)", r"\1", text, flags=re.IGNORECASE)
    text = re.sub(
        rf"{_WATCHED}{own}(?=\s*[.,;!?]|\s*$|\s+{_PREPOSITION}\s)", rf"\g<verb> {SOMETHING}", text, flags=re.IGNORECASE
    )
    text = re.sub(rf"(?:(?:mixed|combined|blended)\s+with|and|&|\+)\s+{own}(?=\s*[.,;!?]|\s*$)", "", text, flags=re.IGNORECASE)
    text = re.sub(rf"{own}{_LOOK}?\s*(?:,|(?:mixed\s+with|and|&|\+))\s+(?=(?-i:[A-Z]))", "", text, flags=re.IGNORECASE)
    text = re.sub(rf"(?:^|(?<=[,.;]))\s*{_DATED}{own}{_LOOK}?(?=\s*[.,;]|\s*$)", "", whole.sub(gone, text), flags=re.IGNORECASE)
    text = _drop(text, re.compile(f"{own}{_LOOK}", re.IGNORECASE))
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
        if not english.is_plural(found.group()) and _ARTICLED.search(text, 0, found.start()) and _is_noun_next(after):
            # "a tattoo artist"
            one = re.compile(rf"(?<=^.{{{found.start()}}}){re.escape(found.group())}", re.DOTALL)
            text = _drop(text, one)
            continue
        if not before and (acts := re.match(r"\s+([^\W\d_]+)", after)) and _begins_to_act(acts[1]):
            # "red hair blowing in the wind"
            text = f"{english.head(name) if ' ' in name else SOMETHING}{after}"
            continue
        having, another = (
            re.search(rf"(?:(?:\s+(?:is|are|was|were))?\s+(?:covered|dressed|clad))?\s+{_HAVING}$", before),
            re.match(r"\s+and\s+(?=\w)", after),
        )
        if _ITS.search(before):
            # "the girl's red hair blows": she still has hair.
            described = _IS_SO.match(after) if before.endswith("s") and " " not in name else None
            after = after[described.end() :] if described else after
            text = f"{before} {english.head(name)}{after}" if " " in name else f"{_ITS.sub(_no_longer, before)}{after}"
        elif has := _HAS.search(before):
            keeps = another and english.DETERMINER.match(after, another.end())
            text = (
                f"{before if keeps else before[: has.start()]} {after[another.end() :] if another else _HELD_AT.sub('', after)}"
            )
            text = text if another else _SOMEBODY_ALONE.sub(rf"{A_PERSON}", text)
        elif having and another:
            text = f"{before} {after[another.end() :]}"
        elif not having and _takes_object(before):
            # "shows off a tattoo of a snake"
            text = f"{before} {SOMETHING}{_OF_WHAT.sub('', after)}"
        else:
            after = re.sub(f"^{HELD}", "", after, flags=re.IGNORECASE) if having else after
            before = before[: having.start()] if having else before
            text = f"{before} {_ON.sub('', after) if not before or before.endswith(' of') else after}"
    return text


def _is_noun_next(after: str) -> bool:
    """Whether a noun follows, which is no adverb: "a tattoo artist", but not "a tattoo outdoors"."""
    following = re.match(r"\s+([^\W\d_]+)", after)
    return following is not None and "ADV" not in english.parts_of_speech(following[1]) and is_noun_before(after, worn=False)


def _takes_object(before: str) -> bool:
    """Whether the text ends with a verb, or its particle, that an object follows: "a man shows off"."""
    words: list[str] = ["", "", *re.findall(r"[^\W\d_]+", before[-60:])]
    last = words.pop()
    if not last or not before.rstrip().endswith(last):
        return False
    if last.lower() in english.word_lists()["particles"]:
        last = words.pop()
    parts, acts = english.parts_of_speech(last), english.is_present(last, several=False) and _is_noun((words or [""])[-1])
    return "VERB" in parts and not english.is_function_word(last) and ("NOUN" not in parts or last.endswith("ing") or acts)


def _begins_to_act(word: str) -> bool:
    ing = word.endswith("ing") and "VERB" in english.parts_of_speech(word)
    return ing or english.is_present(word, several=False) or word in _IS_WORDS


def _no_longer(owner: re.Match[str]) -> str:
    """ "his tattoos" are something, and "the shirt's logo" the shirt."""
    return SOMETHING if owner.group().isalpha() else ""


def _last_word(text: str) -> str:
    return (re.findall(r"[^\W\d_]+", text[-60:]) or [""])[-1].lower()


def _before_attribute(text: str) -> str:
    """The text before an attribute's article and adjectives: "a woman with" of "a woman with long "."""
    words = text.rstrip()
    while found := re.search(r"(?:^|\s)([^\W\d_]+)$", words):
        word = found[1].lower()
        kind = _is_noun(word) and re.search(r"\b(?:an?|the)\s+(?:[^\W\d_]+\s+)?$", words[: found.start(1)], re.IGNORECASE)
        acts = english.is_present(word, several=False) and _is_noun(_last_word(words[: found.start(1)]))
        adjective = "ADJ" in english.parts_of_speech(word) and word not in (*_HAVING_WORDS, "off", "up", "down", "on")
        if not (word in ("a", "an", "the") or adjective or (kind and not acts)):
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
        text = re.sub(rf",\s*{pattern.pattern}\s+[a-z]+ing\b[^,.;]*", _without_aside, text, flags=re.IGNORECASE)
        text = re.sub(rf"^{pattern.pattern}(?=\s+(?:{'|'.join(_IS_WORDS)})\s)", SOMETHING, text, flags=re.IGNORECASE)
        happens = rf"^(?:an?|the)\s+(?:[^\W\d_]+\s+)?{pattern.pattern}\s+{_HAPPENS}"
        text = re.sub(happens, f"people are {replacement}", text, flags=re.IGNORECASE)
        moment = rf"{_A_NOUN}(?P<noun>{pattern.pattern}){_MANNER}(?=\s+{_AFTER_NOUN}\s|\s*[.,;!?]|\s*$)"
        text = re.sub(moment, lambda found: _as_moment(found, replacement), text, flags=re.IGNORECASE)
        whole = re.compile(rf"{pattern.pattern}{_OBJECT}(?P<bare>(?:\s+[^\W\d_]+){{1,2}})?", re.IGNORECASE)
        left = whole.sub(lambda found: _not_doing_it(found, name, replacement), text)
        return left if left.strip() else attached(A_PERSON, replacement, "act")
    text = re.sub(rf"{_COMMITS}\s+{pattern.pattern}", f"is {replacement}", text, flags=re.IGNORECASE)
    others = f"{replacement} people" if english.is_adjective(replacement) else f"people {replacement}"
    for owned in _of_somebody(pattern.pattern):
        text = owned.sub(lambda found: attached(found["owner"] or A_PERSON, replacement, "act"), text)
    for found in reversed(list(pattern.finditer(text))):
        text = f"{_before_attribute(text[: found.start()])} {others}{text[found.end() :]}"
    return text


def _of_somebody(noun: str) -> Sequence[re.Pattern[str]]:
    """ "a woman's face", "people with painted faces", "the death of a king"; the group `owner` is who has it."""
    described = rf"(?:(?-i:[a-z])+\s+)?{noun}"
    having = rf"(?P<owner>{_AN}{people()})\s+with\s+(?:(?:an?|his|her|their)\s+)?{described}"
    ways = (rf"{_OWNER}\s+{described}", having, rf"\bthe\s+{described}\s+of\s+(?P<owner>(?:an?|the)\s+[^\W\d_]+)")
    return [re.compile(way, re.IGNORECASE) for way in ways]


def _as_something(found: re.Match[str]) -> str:
    """ "wipes her tears" is "wipes something"."""
    noun = (found["before"] or found["owner"]) and english.is_plural(found["noun"])
    return f"{found['before'] or ''}{SOMETHING}" if noun else found.group()


def _not_doing_it(found: re.Match[str], name: str, replacement: str) -> str:
    """As `_not_doing`, also without an object that has no article: "a man drinking red wine"."""
    bare, before = found["bare"] or "", _last_word(found.string[: found.start()])
    did, words = found.group()[: len(found.group()) - len(bare)].strip(), bare.split()
    subject = _is_noun(before) or before in (*_PRONOUNS, "is", "are", "was", "were")
    transitive = " " not in did and name.lower() not in english.word_lists()["intransitive_gerunds"]
    end = 0
    for index, word in enumerate(words if subject and transitive else ()):
        parts = english.parts_of_speech(word)
        if "ADV" in parts or english.is_function_word(word) or not {"ADJ", "NOUN"} & set(parts):
            break
        end = index + 1 if _is_noun(word.lower()) else end
    kept = words[end:]
    return _not_doing(found, replacement) + (f" {' '.join(kept)}" if kept else "")


def _not_doing(found: re.Match[str], replacement: str) -> str:
    """What somebody is instead of doing it: "is smoking" becomes "is calm", "smokes" "is calm", and "smoking" nothing."""
    if not english.is_adjective(replacement):
        return replacement
    if _IS.search(found.string[: found.start()]):
        return replacement
    doing, subject = found.group().split()[0].lower(), re.search(r"([^\W\d_]+)\s+$", found.string[: found.start()])
    if subject is None:
        return ""
    who = subject[1].lower()
    pronoun, many = who in _PRONOUNS, who in ("they", "we", "you") or (english.is_plural(who) and who != "it")
    if english.is_present(doing, several=False):
        return f"is {replacement}"
    following = found.string[found.end() - len(found["bare"] or "") :]
    if not (pronoun or _is_noun(who)) or doing.endswith("ing") or re.match(r"\s+by\b", following):
        return ""
    if doing not in english.verb_lemmas(doing):
        return f"{'were' if many else 'was'} {replacement}"
    goes_on = pronoun or re.match(r"\s+(?:and|while|as|until)\b", following)
    return f"are {replacement}" if goes_on else ""


def _as_moment(found: re.Match[str], replacement: str) -> str:
    """ "a passionate kiss between two people" is "a calm moment between two people"."""
    noun = found["noun"].lower()
    if noun.endswith("ing") or "NOUN" not in english.parts_of_speech(noun) or not english.is_adjective(replacement):
        return found.group()
    words = found.group()[: found.start("noun") - found.start()].split()[1:]
    if any("ADJ" not in english.parts_of_speech(word) for word in words):
        return found.group()
    return english.indefinite(f"{replacement} moment")


def _without_aside(found: re.Match[str]) -> str:
    """ ", tears rolling down her cheeks" goes."""
    word = found.group().strip(" ,").split()[0]
    return "" if english.is_plural(word) else found.group()


def _drop(text: str, pattern: re.Pattern[str], instead: str = "") -> str:
    """Replace what the pattern finds, and mend the "a" or "an" before it."""

    def mended(found: re.Match[str]) -> str:
        words = f"{instead} {found['next']}" if instead else found["next"]
        return f"{english.indefinite(words)}" if found["article"] else words

    joint = re.compile(rf"(?:(?P<article>\ban?)\s+)?{pattern.pattern}\s+(?P<next>[^\W\d_]+)", re.IGNORECASE)
    return pattern.sub(instead, joint.sub(mended, text))
