"""The words of the captions: how subjects, classes, styles, motions and backgrounds are said, and in what sentences.

Every list is split into `seen`, which an erasure may be trained on, and `held_out`, which only measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Split = Literal["seen", "held_out", "all"]


@dataclass(frozen=True)
class Words:
    """The ways to say one thing: the usual one, others, and those kept for measuring."""

    usual: str
    seen: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    def others(self, split: Split) -> tuple[str, ...]:
        return {"seen": self.seen, "held_out": self.held_out, "all": self.seen + self.held_out}[split]


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
SUBJECT_WORDS_64 = SUBJECT_WORDS | {
    "unicorn": Words("a unicorn", ("a magical horse", "a horned horse"), ("a mythical horse",)),
    "butterfly": Words("a butterfly", ("a monarch butterfly", "a winged insect"), ("a moth",)),
    "alien": Words("an alien", ("an extraterrestrial", "a martian"), ("a visitor from space",)),
    "clown": Words("a clown", ("a jester", "a circus clown"), ("a harlequin",)),
    "tractor": Words("a tractor", ("a farm tractor", "a green tractor"), ("a farm machine",)),
    "sailboat": Words("a sailboat", ("a sailing boat", "a yacht"), ("a dinghy",)),
    "burger": Words("a burger", ("a hamburger", "a cheeseburger"), ("a beef patty in a bun",)),
    "banana": Words("a banana", ("a peeled banana", "a yellow fruit"), ("a plantain",)),
    "cake": Words("a cake", ("a birthday cake", "a cream cake"), ("a gateau",)),
    "teddy": Words("a teddy", ("a teddy bear", "a stuffed bear"), ("a plush bear",)),
    "balloon": Words("a balloon", ("a red balloon", "a party balloon"), ("an inflated ball",)),
    "kite": Words("a kite", ("a flying kite", "a paper kite"), ("a glider",)),
}
# A class word stands for any one of its members, and SOMETHING for any subject at all.
CLASS_WORDS = {
    "monster": Words("a monster", ("some monster", "a scary creature"), ("a fiend",)),
    "toy": Words("a toy", ("some toy", "a plaything"), ("a trinket",)),
    "person": Words("a person", ("someone", "somebody"), ("a human",)),
    "animal": Words("an animal", ("some animal", "a critter"), ("a beast",)),
    "vehicle": Words("a vehicle", ("some vehicle", "a means of transport"), ("a transport",)),
    "food": Words("some food", ("food", "a dish"), ("a snack",)),
}
SOMETHING = Words("something", ("a thing", "anything"), ("an object",))
EMPTY_WORDS = Words("an empty scene", ("nothing", "just the place"), ("no one at all",))
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
PLACED = {"sky": "against", "night": "under", "meadow": "on", "sunset": "against"}

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
EMPTY_FORMS = Words(
    "{subject} {place} {style}",
    ("a video of {subject} {place} {style}", "just {background} {style}", "{background} {style}, and nothing else"),
    ("a short clip showing {subject} {place} {style}", "{place} there is {subject} {style}"),
)
EMPTY_OPENINGS = Words(
    "in this animated clip we see {subject}.",
    ("the scene opens on {subject}.", "a cartoon shows {subject} and stays there."),
    ("we look at {subject} for a while.",),
)
