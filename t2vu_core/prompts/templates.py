"""Sentences for images of a concept, with which shots are generated and trained.

The code of arXiv 2405.07288 draws from textual inversion's lists (27 sentences for things, 19 for styles); these are our
own, fewer and more varied. One list for things and one for manners, each sentence with one slot. A model with a prompt
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
    return dataclasses.replace(
        prompts,
        things=tuple(dict.fromkeys((*OBJECT_TEMPLATES, *prompts.things))),
        manners=tuple(dict.fromkeys((*STYLE_TEMPLATES, *prompts.manners))),
    )
