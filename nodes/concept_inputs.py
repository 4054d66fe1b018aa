"""What the erasing nodes ask about a concept, the request that follows from it, and the plan that they output."""

from pathlib import Path

from comfy_api.v0_0_2 import io

from t2vu_core import ConceptRequest
from t2vu_core.prompts.kinds import ASKED_KINDS, asked_kind

from .declare import advanced, lines, text_input


def concept_input() -> io.Input:
    """The concept's own words."""
    return text_input("concept", "What to erase, in the words of a prompt. Several concepts: one per line.", example="ghost")


def concept_prompts_input(rest: str) -> io.Input:
    """The user's own prompts with the concept; `rest` says where others come from."""
    tooltip = f"Complete prompts that name the concept, one per line{rest}"
    return text_input("concept_prompts", tooltip, optional=True, folded=True)


def request_of(
    concept: str,
    synonyms: str,
    preserve_prompts: str,
    concept_prompts: str = "",
    writer: Path | None = None,
    /,
    *,
    concept_kind: str = "auto",
    instead: str = "",
    attribute_of: str = "",
    neighbours: str = "",
) -> ConceptRequest:
    """The request, from a node's text fields; `writer` is the folder of a language model. Raises UserError if it is empty."""
    return ConceptRequest(
        lines(concept), lines(synonyms), lines(concept_prompts), lines(preserve_prompts), writer,
        kind=asked_kind(concept_kind), attribute_of=attribute_of, replacement=instead, neighbours=lines(neighbours),
    )  # fmt: skip


def concept_detail_inputs() -> list[io.Input]:
    """Kind, what an attribute belongs to, replacement and neighbours. Graphs made before they existed leave them empty."""
    return [
        io.Combo.Input(
            "concept_kind",
            options=list(ASKED_KINDS),
            default="auto",
            optional=True,
            tooltip="What the concept is. auto: its words say; the plan says what it was taken for and why. thing: an object, "
            "animal or vehicle. character: fictional. person: real. style: an artist, medium or look. attribute: red hair, a "
            "logo; the thing that has it stays. act: nudity, smoking, a gesture.",
        ),
        io.String.Input(
            "instead",
            default="",
            placeholder="an empty scene",
            optional=True,
            tooltip="What stands in the concept's place: a robot. Empty: what its kind suggests.",
        ),
        advanced(
            io.String,
            "attribute_of",
            default="",
            placeholder="a person",
            optional=True,
            tooltip="What an attribute belongs to: a shirt, for a logo. Only for attributes.",
        ),
        text_input(
            "neighbours",
            "What lies near the concept and must stay, one per line: other dogs for a breed. Empty: from a shipped table.",
            optional=True,
            folded=True,
        ),
    ]


def plan_output() -> io.Output:
    """The plan as text."""
    return io.String.Output(
        "plan",
        display_name="plan",
        tooltip="What the concept was taken for, the prompts, and what they become without it.",
    )
