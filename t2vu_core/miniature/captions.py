"""Captions of the world: from two words to the paragraphs that a language model writes around them.

Three registers say the same facts: `terse` (usual names, one clause), `synonym` (other names, other
sentence forms) and `refined` (two or three sentences). Every list is split into `seen`, which an
erasure may be trained on, and `held_out`, which only measures; the miniature itself learns both.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from t2vu_core.miniature.world import BACKGROUNDS, MOTIONS, NOBODY, STYLES, SUBJECTS

Register = Literal["terse", "synonym", "refined"]
Split = Literal["seen", "held_out", "all"]
REGISTERS: tuple[Register, ...] = ("terse", "synonym", "refined")


@dataclass(frozen=True)
class Words:
    """The ways to say one thing: the usual one, others, and those kept for measuring."""

    usual: str
    seen: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    def others(self, split: Split) -> tuple[str, ...]:
        return _split(self.seen, self.held_out, split)


SUBJECT_WORDS = {
    "ghost": Words("a ghost", ("a phantom", "a spirit"), ("a spook", "a specter")),
    "robot": Words("a robot", ("an android", "a droid"), ("an automaton",)),
    "wizard": Words("a wizard", ("a sorcerer", "a magician"), ("a warlock",)),
    "dragon": Words("a dragon", ("a wyrm", "a drake"), ("a serpent",)),
    "santa": Words("a santa", ("a father christmas", "a saint nick"), ("a kris kringle",)),
    "princess": Words("a princess", ("a queen", "a royal lady"), ("an empress",)),
    "cat": Words("a cat", ("a kitten", "a kitty"), ("a feline",)),
    "panda": Words("a panda", ("a panda bear", "a bamboo bear"), ("a bear cub",)),
    "car": Words("a car", ("an automobile", "an auto"), ("a sedan",)),
    "rocket": Words("a rocket", ("a spaceship", "a spacecraft"), ("a shuttle",)),
    "pizza": Words("a pizza", ("a pizza slice", "a slice of pizza"), ("a margherita",)),
    "octopus": Words("an octopus", ("a squid", "a kraken"), ("a cephalopod",)),
}
STYLE_WORDS = {
    "plain": Words("", ("in natural colors",), ()),
    "noir": Words("in noir style", ("in black and white", "in grayscale"), ("in monochrome",)),
    "sepia": Words("in sepia style", ("like an old photo", "in antique tones"), ("with a vintage look",)),
    "sketch": Words("in pencil sketch style", ("as a line drawing", "as a pencil drawing"), ("drawn in graphite",)),
    "pop": Words("in pop art style", ("in warhol style", "like a silkscreen poster"), ("as a screen print",)),
}
MOTION_WORDS = {
    "left": Words("moving left", ("sliding left", "drifting left")),
    "right": Words("moving right", ("sliding right", "drifting right")),
    "up": Words("moving up", ("rising", "floating up")),
    "down": Words("moving down", ("falling", "sinking")),
    "still": Words("standing still", ("not moving", "staying in place")),
    "growing": Words("coming closer", ("growing", "getting bigger")),
}
BACKGROUND_WORDS = {
    "sky": Words("a blue sky", ("a clear sky",)),
    "night": Words("a starry night", ("a night sky",)),
    "meadow": Words("a green meadow", ("a grassy field",)),
    "sunset": Words("a sunset", ("an orange sunset",)),
}
_PLACED = {"sky": "against", "night": "under", "meadow": "on", "sunset": "against"}

# {subject} {be} {motion} {place} {style}; an empty {style} leaves no trace.
TERSE_FORMS = Words(
    "{subject} {motion} {place} {style}",
    ("a video of {subject} {motion} {place} {style}", "{style}, {subject} {motion} {place}"),
    ("a short clip showing {subject} {motion} {place} {style}", "{place} there {be} {subject} {motion} {style}"),
)
REFINED_OPENINGS = Words(
    "in this animated clip, {subject} {be} {motion}.",
    ("the scene opens on {subject}, {motion} with easy charm.", "a cartoon shows {subject}, {motion} in one smooth take."),
    ("we watch {subject}, {motion} at a gentle pace.", "front and center {be} {subject}, {motion} without any hurry."),
)
REFINED_PLACES = Words(
    "behind it lies {background}, calm and softly lit.",
    ("the backdrop is {background}, wide and quiet.",),
    ("all around there is {background}, peaceful and open.",),
)
REFINED_STYLES = Words(
    "everything is shown {style}, with crisp outlines.",
    ("the whole picture is made {style}, clean and detailed.",),
    ("each frame is rendered {style}, rich in texture.",),
)
NEUTRAL_SUBJECT = "something"
EMPTY_SUBJECT = "an empty scene"


def caption(
    labels: Sequence[int],
    rng: random.Random,
    *,
    register: Register = "terse",
    split: Split = "all",
    drop: float = 0.0,
) -> str:
    """Say one label row in words.

    `drop` leaves each fact out with that probability (an unnamed subject becomes "something"), so that a
    model trained on such captions also understands short prompts.
    """
    first, second, style, motion, background = (int(value) for value in labels)
    varied = register != "terse"

    def say(words: Words) -> str:
        others = words.others(split)
        if not varied or not others:
            return words.usual
        usual = (words.usual,) if split != "held_out" or register == "refined" else ()
        return rng.choice(usual + others)

    def keep() -> bool:
        return rng.random() >= drop

    subjects = [say(SUBJECT_WORDS[SUBJECTS[index]]) for index in (first, second) if index != NOBODY]
    subject = " and ".join(subjects) if subjects else EMPTY_SUBJECT
    if subjects and drop and rng.random() < drop / 2:
        subject, subjects = NEUTRAL_SUBJECT, subjects[:1]
    back = BACKGROUNDS[background]
    facts = {
        "subject": subject,
        "be": "are" if len(subjects) > 1 else "is",
        "motion": say(MOTION_WORDS[MOTIONS[motion]]) if subjects and keep() else "",
        "background": say(BACKGROUND_WORDS[back]) if keep() else "",
        "style": say(STYLE_WORDS[STYLES[style]]) if keep() else "",
    }
    facts["place"] = f"{_PLACED[back]} {facts['background']}" if facts["background"] else ""
    return _tidy((_refined if register == "refined" else _terse)(facts, rng, split, varied))


def held_out_words(concept: str) -> tuple[str, ...]:
    """The ways to say a subject or style that no erasure is trained on."""
    return {**SUBJECT_WORDS, **STYLE_WORDS}[concept].held_out


def _terse(facts: dict[str, str], rng: random.Random, split: Split, varied: bool) -> str:
    others = TERSE_FORMS.others(split)
    form = rng.choice(others if split == "held_out" else (TERSE_FORMS.usual, *others))
    if not varied and split != "held_out" and rng.random() < 0.6:
        form = TERSE_FORMS.usual
    return form.format(**facts)


def _refined(facts: dict[str, str], rng: random.Random, split: Split, varied: bool) -> str:
    def form(words: Words) -> str:
        return rng.choice(words.others(split) if split == "held_out" else (words.usual, *words.others(split)))

    sentences = [form(REFINED_OPENINGS)]
    sentences += [form(REFINED_PLACES)] if facts["background"] else []
    sentences += [form(REFINED_STYLES)] if facts["style"] else []
    return " ".join(sentences).format(**facts)


def _split(seen: tuple[str, ...], held_out: tuple[str, ...], split: Split) -> tuple[str, ...]:
    return {"seen": seen, "held_out": held_out, "all": seen + held_out}[split]


def _tidy(text: str) -> str:
    """Close the gaps that an absent fact leaves."""
    text = " ".join(text.split())
    for gap, mend in ((" ,", ","), (",.", "."), (" .", "."), (", with easy", " with easy")):
        text = text.replace(gap, mend)
    return text.strip(" ,")
