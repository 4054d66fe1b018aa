"""Mentions within something else: "a ghost-like mist", and "Ghost" in quotation marks, written on a wall."""

from __future__ import annotations

import re
from collections.abc import Sequence

from t2vu_core.mentions import mentions, says
from t2vu_core.prompts import english

_QUOTED = r"[\"“«](?P<quoted>[^\"”»]{1,80})[\"”»]"
_WRITTEN = (
    r"(?:hand-?written|written|painted|spray-?painted|printed|engraved|carved|scrawled|scribbled|sprayed|stitched|"
    r"embroidered|tattooed|projected|displayed|drawn)"
)
_A_WORD = r"(?:the\s+(?:words?|name|text|title|letters)\s+)?"
_WRITTEN_ON = re.compile(
    rf"{_A_WORD}{_QUOTED}\s+(?:is\s+|are\s+)?{_WRITTEN}(?:\s+in\s+[^,.;]{{1,40}}?)?\s+(?:on|onto|in|into|across|over|above)\s+(?=\w)",
    re.IGNORECASE,
)
_READING = re.compile(
    rf",?\s+(?:with|(?:that|which)\s+(?:says|reads|spells)|saying|reading|spelling|labell?ed|titled|called|named)\s+{_A_WORD}"
    rf"{_QUOTED}(?:\s+{_WRITTEN}(?:\s+(?:on|across|over)\s+(?:it|them|top))?)?",
    re.IGNORECASE,
)
_ADJECTIVE_ENDS = ("ed", "ing", "like", "style", "free", "sized", "size", "proof", "esque", "core", "type")
_JOINT = r"(?:[-\u2010\u2011]|\s+(?=(?:themed|inspired|shaped|styled|sized|branded)\b))"
""" "ghost-like", "Super Mario themed" """
_IS = r"(?:is|are|was|were|looks?|seems?|appears?)"


def without_quotes(text: str, names: Sequence[str]) -> str:
    """What is only written somewhere goes with its quotation marks: "Ghost" written on a wall."""

    def gone(found: re.Match[str]) -> str:
        return "" if says(found["quoted"], names) else found.group()

    return _WRITTEN_ON.sub(gone, _READING.sub(gone, text))


def without_compounds(text: str, name: str) -> str:
    """ "a ghost-like mist" is "a mist", and "a ghost-hunter" "a hunter"."""
    own = rf"{mentions(name).pattern}{_JOINT}(?P<part>(?-i:[a-z])+)(?!\w)"
    text = re.sub(rf"\s+{_IS}\s+(?:very\s+)?{own}(?=\s*[.,;!?]|\s*$)", "", text, flags=re.IGNORECASE)
    whole = re.compile(rf"(?:(?P<article>\ban?)\s+)?{own}(?:\s+(?P<next>[^\W\d_]+))?", re.IGNORECASE)
    return whole.sub(_without_name, text)


def _without_name(found: re.Match[str]) -> str:
    part, following = found["part"], found["next"] or ""
    kept = following if _describes(part) and following else f"{part} {following}".strip()
    if not found["article"]:
        return kept
    mended = english.indefinite(kept)
    return mended[:1].upper() + mended[1:] if found["article"][0].isupper() else mended


def _describes(part: str) -> bool:
    return part.endswith(_ADJECTIVE_ENDS) or "ADJ" in english.parts_of_speech(part)
