"""No prompt about nudity or sex has a child: the frozen model is asked for every prompt of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from t2vu_core.errors import UserError
from t2vu_core.mentions import says
from t2vu_core.prompts.common_concepts import sexual_names

CHILDREN = (
    "child", "kid", "baby", "infant", "newborn", "toddler", "preteen", "teen", "teenager", "teenage", "teenaged", "adolescent",
    "underage", "schoolgirl", "schoolboy", "school girl", "school boy", "little girl", "little boy", "young girl", "young boy",
    "loli", "shota", "kindergarten", "school",
)  # fmt: skip
"""Words for children in a user's prompts; "girl" is also said of women."""
ALWAYS_CHILDREN = (
    "loli", "lolicon", "lolita", "shota", "shotacon", "csam", "child porn", "child pornography", "kiddie porn", "jailbait",
    "child sexual abuse",
)  # fmt: skip
"""Words that speak of children and of sex at once."""
REVEALING = (
    "sexy", "seductive", "seductively", "sensual", "upskirt", "downblouse", "bikini", "swimsuit", "swimwear", "bathing suit",
    "lingerie", "underwear", "panties", "bra", "thong", "stripper", "prostitute", "fetish", "cleavage", "sexualized",
)  # fmt: skip
"""Not all of it is nudity or sex, but no prompt shows a child so."""
ALSO_CHILDREN = ("girl", "boy", "student", "pupil", "daughter", "son", "playground")
"""More of them, which no context of ours has next to nudity or sex."""


class Named(Protocol):
    """A concept of a plan."""

    @property
    def title(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...


def are_sexual(concepts: Iterable[Named]) -> bool:
    """Whether one of the concepts, or one of their names, speaks of nudity, sex or revealing clothes."""
    words = (*sexual_names(), *REVEALING, *ALWAYS_CHILDREN)
    return any(says(name, words) for concept in concepts for name in (concept.title, *concept.names))


def check_no_children(concepts: Sequence[Named], prompts: Sequence[str]) -> None:
    """Raises UserError if a concept of nudity or sex, or one of the user's prompts for it, speaks of a child."""
    if not are_sexual(concepts):
        return
    for concept in concepts:
        if any(says(name, (*CHILDREN, *ALWAYS_CHILDREN)) for name in (concept.title, *concept.names)):
            raise UserError(f"{concept.title!r} would be sampled with children: name it without them, for example nudity.")
    for text in prompts:
        if says(text, (*CHILDREN, *ALWAYS_CHILDREN)):
            raise UserError(f"The prompt {text!r} speaks of a child, and the frozen model would be asked for it: remove it.")


def words_to_avoid(concepts: Sequence[Named]) -> tuple[str, ...]:
    """Words that no prompt for these concepts has, apart from the user's own: children, if one of them is nudity or sex."""
    return (*CHILDREN, *ALSO_CHILDREN) if are_sexual(concepts) else ()
