"""Whether a user's prompt is in English, as the contexts and the grammar are."""

from __future__ import annotations

import re
from collections.abc import Iterable

from t2vu_core.mentions import mentions
from t2vu_core.prompts import english

_LATIN_ENDS = 0x250
_WORDS = re.compile(r"[^\W\d_]+")


def is_english(text: str, names: Iterable[str]) -> bool:
    """Whether the text is in English, or may be; the `names` in it do not count.

    Most letters of another script tell another language, and so do its function words where none is English and no more
    words are known than unknown.
    """
    for name in names:
        text = mentions(name).sub(" ", text)
    words = _WORDS.findall(text)
    letters = "".join(words)
    if sum(ord(letter) >= _LATIN_ENDS for letter in letters) * 2 > len(letters):
        return False
    # A capital within the text is a name's: "El Greco".
    lowered = [word.lower() for index, word in enumerate(words) if not index or word.islower()]
    known = english.word_lists()
    foreign = [word for word in lowered if word in known["other_languages"]]
    others = [word for word in lowered if word not in foreign and word not in known["shared_with_other_languages"]]
    if not foreign or any(map(english.is_function_word, others)):
        return True
    return sum(map(english.knows_word, others)) * 2 > len(others)
