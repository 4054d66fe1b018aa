"""Sentences for images of a concept: what shots are generated with and trained on.

The code of arXiv 2405.07288 draws from textual inversion's lists (27 sentences for things, 19 for styles); these are our
own, fewer and less alike. One list for things, one for manners, each with one place. A model that brings its own prompt
set uses that.
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
    """A prompt set whose contexts are joined by those for images."""
    return dataclasses.replace(
        prompts,
        things=tuple(dict.fromkeys((*OBJECT_TEMPLATES, *prompts.things))),
        manners=tuple(dict.fromkeys((*STYLE_TEMPLATES, *prompts.manners))),
    )
