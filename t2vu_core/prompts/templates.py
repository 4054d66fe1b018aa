"""Sentences for images of a concept, with which shots are generated and trained.

The code of arXiv 2405.07288 draws from textual inversion's lists (27 sentences for things, 19 for styles); these are our
own, fewer and more varied. One list for things and one for styles, each sentence with one slot. A model with a prompt
set of its own uses that instead.
"""

from __future__ import annotations

import dataclasses

from t2vu_core.prompts.prompt_set import PromptSet

OBJECT_TEMPLATES = (
    "a photo of {}",
    "a picture of {}",
    "a close-up photo of {}",
    "a bright photo of {}",
    "a dark photo of {}",
    "a cropped photo of {}",
    "a sharp photo of {}",
    "a blurred photo of {}",
    "{} in front of a plain background",
    "{} outdoors",
    "{} indoors",
    "{} seen from the side",
    "{} seen from far away",
    "an illustration of {}",
    "a drawing of {}",
    "a render of {}",
    "a portrait of {}",
    "one frame of a film with {}",
)
STYLE_TEMPLATES = (
    "a landscape {}",
    "a portrait {}",
    "a city street {}",
    "a house {}",
    "a tree {}",
    "a bowl of fruit {}",
    "a dog {}",
    "a ship at sea {}",
    "a room with a window {}",
    "two people {}",
    "an old castle {}",
    "a bunch of flowers {}",
)


def with_image_templates(prompts: PromptSet) -> PromptSet:
    """The prompt set with these sentences added to its contexts."""
    others = {kind: _joined(_for_kind(kind), texts) for kind, texts in prompts.others.items()}
    return dataclasses.replace(
        prompts,
        things=_joined(OBJECT_TEMPLATES, prompts.things),
        manners=_joined(STYLE_TEMPLATES, prompts.manners),
        others=others,
    )


def _for_kind(kind: str) -> tuple[str, ...]:
    return tuple(text.replace("{}", "{a person}") for text in OBJECT_TEMPLATES) if kind == "act" else OBJECT_TEMPLATES


def _joined(templates: tuple[str, ...], contexts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*templates, *contexts)))
