"""Captions of the worlds: from two words to the paragraphs that a language model writes around them.

Three registers say the same facts: `terse` (usual names, one clause), `synonym` (other names, other
sentence forms) and `refined` (two or three sentences). The words of each are split into `seen`, which an
erasure may be trained on, and `held_out`, which only measures; the miniature itself learns both.

The labels of a clip are the truth. In the world of 64 pixels a caption may say less: a class ("an animal") or
"something" for the subject that is there.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from t2vu_core.miniature.captions_words import (
    BACKGROUND_WORDS,
    CLASS_WORDS,
    EMPTY_FORMS,
    EMPTY_OPENINGS,
    EMPTY_WORDS,
    MOTION_WORDS,
    PLACED,
    REFINED_OPENINGS,
    REFINED_PLACES,
    REFINED_STYLES,
    SOMETHING,
    STYLE_WORDS,
    SUBJECT_WORDS,
    SUBJECT_WORDS_64,
    TERSE_FORMS,
    Split,
    Words,
)
from t2vu_core.miniature.worlds import BACKGROUND, FIRST, MOTION, NOBODY, SECOND, STYLE, WORLD_32, WORLD_64, World

__all__ = [
    "BACKGROUND_WORDS",
    "CLASS_WORDS",
    "EMPTY_SUBJECT",
    "EMPTY_WORDS",
    "MOTION_WORDS",
    "NEUTRAL_SUBJECT",
    "REFINED_OPENINGS",
    "REGISTERS",
    "REGISTER_SHARES",
    "SOMETHING",
    "STYLE_WORDS",
    "SUBJECT_WORDS",
    "SUBJECT_WORDS_64",
    "TERSE_FORMS",
    "Register",
    "Split",
    "Words",
    "caption",
    "draw_caption",
    "held_out_words",
    "subject_words",
]  # fmt: skip

Register = Literal["terse", "synonym", "refined"]
REGISTERS: tuple[Register, ...] = ("terse", "synonym", "refined")
REGISTER_SHARES: dict[Register, float] = {"terse": 0.5, "synonym": 0.25, "refined": 0.25}
NEUTRAL_SUBJECT = "something"
EMPTY_SUBJECT = "an empty scene"
# Of the captions that do not name the subject, so many say "something"; the others say its class.
SOMETHING_SHARE = 0.4


@dataclass(frozen=True)
class _Voice:
    """Who chooses the words: a register, a split, and a generator."""

    rng: random.Random
    register: Register
    split: Split

    def say(self, words: Words) -> str:
        others = words.others(self.split)
        if self.register == "terse" or not others:
            return words.usual
        usual = (words.usual,) if self.split != "held_out" or self.register == "refined" else ()
        return self.rng.choice(usual + others)

    def form(self, words: Words) -> str:
        others = words.others(self.split)
        return self.rng.choice(others if self.split == "held_out" else (words.usual, *others))

    def write(self, facts: dict[str, str], forms: Words, openings: Words) -> str:
        if self.register == "refined":
            sentences = [self.form(openings)]
            sentences += [self.form(REFINED_PLACES)] if facts["background"] else []
            sentences += [self.form(REFINED_STYLES)] if facts["style"] else []
            return _tidy(" ".join(sentences).format(**facts))
        form = self.form(forms)
        if self.register == "terse" and self.split != "held_out" and self.rng.random() < 0.6:
            form = forms.usual
        if "{background}" in form and not facts["background"]:
            form = forms.usual
        return _tidy(form.format(**facts))


def caption(
    labels: Sequence[int],
    rng: random.Random,
    *,
    register: Register = "terse",
    split: Split = "all",
    drop: float = 0.0,
    vague: float = 0.0,
    world: World = WORLD_32,
) -> str:
    """Say one label row in words.

    `drop` leaves each fact out with that probability, so that a model trained on such captions also understands short
    prompts; in the world of 32 pixels an unnamed subject, or two, then become "something". `vague` is the probability
    that a subject is called by its class or "something" (in the world of 64 pixels).
    """
    voice = _Voice(rng, register, split)
    subjects = [_subject(voice, int(labels[at]), vague, world) for at in (FIRST, SECOND) if labels[at] != NOBODY]
    if not subjects and world != WORLD_32:
        return _empty(voice, labels, drop, world)
    subject = " and ".join(subjects) if subjects else EMPTY_SUBJECT
    if world == WORLD_32 and subjects and drop and rng.random() < drop / 2:
        subject, subjects = NEUTRAL_SUBJECT, subjects[:1]

    def keep() -> bool:
        return rng.random() >= drop

    facts = {
        "subject": subject,
        "be": "are" if len(subjects) > 1 else "is",
        "motion": voice.say(MOTION_WORDS[world.motions[labels[MOTION]]]) if subjects and keep() else "",
        **_background(voice, world.backgrounds[labels[BACKGROUND]], keep()),
        "style": voice.say(STYLE_WORDS[world.styles[labels[STYLE]]]) if keep() else "",
    }
    return voice.write(facts, TERSE_FORMS, REFINED_OPENINGS)


def draw_caption(
    labels: Sequence[int],
    rng: random.Random,
    *,
    dropout: float = 0.1,
    bare: float = 0.05,
    drop: float = 0.08,
    vague: float = 0.15,
    shares: Mapping[Register, float] = REGISTER_SHARES,
    world: World = WORLD_64,
) -> str:
    """A caption to train on: none with probability `dropout`, else of a register as often as `shares` says.

    `bare` captions say who is there and nothing else: "a ghost", "an animal", "an empty scene".
    """
    if rng.random() < dropout:
        return ""
    if rng.random() < bare:
        return caption(labels, rng, register=rng.choice(("terse", "synonym")), drop=1.0, vague=vague, world=world)
    register = rng.choices(list(shares), list(shares.values()))[0]
    return caption(labels, rng, register=register, drop=drop, vague=vague, world=world)


def subject_words(world: World) -> dict[str, Words]:
    """The ways to say each subject of a world."""
    return SUBJECT_WORDS if world == WORLD_32 else SUBJECT_WORDS_64


def held_out_words(concept: str) -> tuple[str, ...]:
    """The ways to say a subject or style that no erasure is trained on."""
    return {**SUBJECT_WORDS_64, **STYLE_WORDS}[concept].held_out


def _subject(voice: _Voice, index: int, vague: float, world: World) -> str:
    subject = world.drawn[index]
    if vague and voice.rng.random() < vague:
        return voice.say(SOMETHING if voice.rng.random() < SOMETHING_SHARE else CLASS_WORDS[subject.kind])
    return voice.say(subject_words(world)[subject.name])


def _empty(voice: _Voice, labels: Sequence[int], drop: float, world: World) -> str:
    """A scene with no subject."""
    style = voice.say(STYLE_WORDS[world.styles[labels[STYLE]]]) if voice.rng.random() >= drop else ""
    facts = {"subject": voice.say(EMPTY_WORDS), "style": style}
    facts |= _background(voice, world.backgrounds[labels[BACKGROUND]], voice.rng.random() >= drop)
    return voice.write(facts, EMPTY_FORMS, EMPTY_OPENINGS)


def _background(voice: _Voice, name: str, said: bool) -> dict[str, str]:
    """The background, and the same as a place."""
    background = voice.say(BACKGROUND_WORDS[name]) if said else ""
    return {"background": background, "place": f"{PLACED[name]} {background}" if background else ""}


def _tidy(text: str) -> str:
    """Close the gaps that an absent fact leaves."""
    text = " ".join(text.split())
    for gap, mend in ((" ,", ","), (",.", "."), (" .", "."), (", with easy", " with easy")):
        text = text.replace(gap, mend)
    return text.strip(" ,")
