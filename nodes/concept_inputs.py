"""What both training nodes ask about a concept beyond its words, and the plan that they output."""

from comfy_api.v0_0_2 import io

from t2vu_core.prompts.kinds import ASKED_KINDS

from .declare import advanced, text_input


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
