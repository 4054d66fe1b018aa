"""Whether a kind and a replacement fit a concept: what is refused, and what a user should look at."""

from __future__ import annotations

import re
from collections.abc import Sequence

from t2vu_core.errors import UserError
from t2vu_core.mentions import STYLE_STARTS, bare, says
from t2vu_core.prompts import english
from t2vu_core.prompts.common_concepts import CommonConcept, ConceptKind, common_concept, sexual_names
from t2vu_core.prompts.kinds import KindChoice, in_own_set
from t2vu_core.prompts.lines import Line
from t2vu_core.prompts.meanings import is_class_of, kinds_of, same_as
from t2vu_core.prompts.minors import Named
from t2vu_core.prompts.prompt_set import PromptSet
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.prompts.wording import SUBJECT_KINDS, does

NOTHING = ("nothing", "none", "nobody", "no one")
"""Replacements that mean nothing at all."""
UNDERWEAR = ("underwear", "lingerie")
"""The table has these with nudity and sex, and yet somebody may want people in them instead."""
_LISTED = re.compile(r"\s*[,;/&]\s*(?:(?:and|or)\s+)?|\s+(?:and|or)\s+", re.IGNORECASE)
"""What stands between concepts in a list."""
_NOUN_PHRASE = ("a ", "an ", "the ")


def check_replacement(words: str, title: str, kind: ConceptKind, names: tuple[str, ...]) -> None:
    """Raises UserError for a replacement that means the concept or is a kind of it, or that is a noun and replaces a style."""
    if words.lower() in NOTHING:
        return
    if says(words, _meaning_the_same(title, kind)) or _part_of_name(words, kind, names):
        raise UserError(f"The replacement {words!r} means {title!r} itself: name something else.")
    if says(words, kinds_of(title)):
        raise UserError(f"The replacement {words!r} is a kind of {title!r}: name something else.")
    listed = common_concept(title, kind)
    if listed is not None and listed.sexual and says(words, sexual_names()) and not says(words, UNDERWEAR):
        raise UserError(f"The replacement {words!r} is nudity or sex, as {title!r} is: name something else.")
    if kind == "style" and _is_thing(words):
        raise UserError(
            f'The replacement {words!r} is not a style: write how the scene is shown, for example "as a photograph".'
        )


def check_kept(texts: Sequence[str], what: str, concepts: Sequence[Named]) -> None:
    """Raises UserError for a text to keep that says a concept or means it; `what` is what such a text is called."""
    for concept in concepts:
        words = (*concept.names, *same_as(concept.title))
        for text in texts:
            if says(text, words):
                line = f"Line {text.number} of the {what}s, {text!r}," if isinstance(text, Line) else f"The {what} {text!r}"
                does = "says" if says(text, concept.names) else "says the same as"
                raise UserError(f"{line} {does} {concept.title!r}, which is to be erased: remove or change it.")


def doubts(
    title: str,
    choice: KindChoice,
    request: ConceptRequest,
    common: CommonConcept | None,
    prompts: PromptSet,
    *,
    known_neighbours: bool,
) -> tuple[str, ...]:
    """What does not seem to fit: the model, a kind, a replacement, two concepts in one, neighbours that are not near."""
    found: list[str] = []
    words = [word for name, others in prompts.names.items() for word in (name, *others)]
    if prompts.own and words and not in_own_set(title, words):
        found.append(f"The prompts that come with this model do not name {title!r}: it may not be able to draw it at all.")
    kind, listed = choice.kind, common_concept(title)
    if doubt := _kind_doubt(title, kind, listed, request):
        found.append(doubt)
    instead = request.replacement or ""
    if kind == "act" and instead and instead.lower() not in NOTHING and not does(instead):
        found.append(f"The replacement {instead!r} of {title!r} is nothing that a person does: write what they do instead.")
    if instead and is_class_of(instead, title):
        found.append(f"{title!r} is a kind of {instead!r}, for which the model may draw it again: look at the neutral check.")
    if listed is None and (number := _number_of_concepts(title)) > 1:
        many = "two" if number == 2 else "several"
        found.append(f"{title!r} names {many} concepts: give each of them as a concept of its own.")
    near = known_neighbours or request.neighbours or common or common_concept(english.head(title), kind)
    if kind in ("thing", "character") and not near:
        found.append(f"No neighbours of {title!r} are known: give some (--neighbours, or neighbours of the node).")
    return tuple(found)


def same_concept(words: str) -> tuple[str, ...]:
    """Common words that mean the same as these, and kinds of them: none of these is a neighbour."""
    return (*same_as(words), *kinds_of(words))


def _meaning_the_same(title: str, kind: ConceptKind) -> list[str]:
    common = common_concept(title, kind)
    listed = [common.name, *common.also, *(common.same if kind == "act" else ())] if common else []
    return [*listed, *same_as(title)]


def _part_of_name(words: str, kind: ConceptKind, names: tuple[str, ...]) -> bool:
    """Whether the words are a part of somebody's name: "Vincent" of "Vincent van Gogh", but not "a man" of "Iron Man"."""
    if kind not in ("character", "person", "style") or not (english.is_proper(words) or not english.knows_word(bare(words))):
        return False
    return any(english.is_proper(bare(name)) and says(bare(name), [words]) for name in names)


def _is_thing(words: str) -> bool:
    if words.lower().startswith(STYLE_STARTS):
        return False
    listed = common_concept(words)
    subject = listed is not None and listed.kind in SUBJECT_KINDS
    return words.lower().startswith(_NOUN_PHRASE) or (subject and common_concept(words, "style") is None)


def _kind_doubt(title: str, kind: ConceptKind, listed: CommonConcept | None, request: ConceptRequest) -> str | None:
    """A kind that was asked for although the table has another; an artist is a person and a style."""
    if listed is None or common_concept(title, kind) is not None:
        return None
    artist = {kind, listed.kind} == {"person", "style"} and english.is_proper(listed.name)
    if request.kind != "auto" and not artist and {kind, listed.kind} != {"thing", "character"}:
        return f"You chose the kind {kind} for {title!r}, but the table of common concepts has it as {_a(listed.kind)}."
    if request.attribute_of and common_concept(english.head(title), "attribute") is None:
        return (
            f"{title!r} is taken for an attribute of {request.attribute_of!r}, but the table of common concepts has it as "
            f"{_a(listed.kind)}: leave out what it belongs to if it stands alone."
        )
    return None


def _number_of_concepts(title: str) -> int:
    """How many concepts are listed: two in "dogs and cats", "ghosts or zombies" and "van gogh, monet"."""
    parts = [part for part in _LISTED.split(title) if part]
    return len(parts) if all(common_concept(part) for part in parts) else 1


def _a(kind: ConceptKind) -> str:
    return f"{'an' if kind.startswith('a') else 'a'} {kind}"
