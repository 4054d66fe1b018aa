"""A training run that is killed outright, at any moment, goes on as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.killing import assert_kills_change_nothing
from tests.core.tiny_models import TINY_MODELS

ERASE = """
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.velocity.train import erase_velocity

recipe = VelocityRecipe.preset(
    "quick", concept_trajectories=2, preserve_trajectories=2, trajectory_steps=2, steps=100, rank=4, eta=20.0,
    refresh_every=40, trajectory_cache="disk",
)
erase_velocity(model, "ghost", recipe, log_folder=log, on_progress=on_progress).save(out)
"""


@pytest.mark.slow
def test_a_training_run_killed_at_random_points_ends_bit_for_bit_as_one_that_was_not(tmp_path: Path) -> None:
    """Slow because every life of the training is a process of its own that imports torch."""
    assert_kills_change_nothing(ERASE, TINY_MODELS["cogvideox-2b"].folder, tmp_path)
