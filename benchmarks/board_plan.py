"""What the whole board measures: concepts, training runs for each method, and which attacks run on which."""

from __future__ import annotations

TEST_CONCEPTS = (
    "ghost", "octopus", "wizard", "dragon", "robot", "princess", "cat", "pizza", "rocket", "in noir style", "in sepia style",
    "in pencil sketch style",
)  # fmt: skip
"""All concepts of the first world that settings were not chosen on: 12, so that an exact paired test can reach p < 0.001."""
TRAININGS = {"encoder": 3, "velocity": 3, "closed_form": 3, "esd": 2, "receler": 2}
"""Training runs a concept; 1 for the others. Methods without training have one row."""
REGROWTH = ("velocity", "encoder", "esd", "receler")
"""Methods that are fine-tuned on benign clips: ours and the two baselines that erase most. The others are left out."""
REGROWTH_STEPS = 500
REGROWTH_SEED = 0
"""Only the first training run of a concept is fine-tuned."""


def trainings(method: str) -> int:
    """How many training runs a concept has."""
    return TRAININGS.get(method, 1)
