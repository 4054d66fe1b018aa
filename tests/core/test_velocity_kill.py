"""A training that is killed outright, at any moment, goes on as if nothing had happened."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from t2vu_core.erasure import Erasure
from tests.core.tiny_models import TINY_MODELS

REPOSITORY = Path(__file__).parents[2]
CHILD = """
import os, random, signal, sys, threading
from pathlib import Path
from t2vu_core.model import load_model
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.velocity import erase_velocity

model, log, out, kill_at = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def on_progress(progress):
    if progress.stage == "training" and progress.step == kill_at:
        # Somewhere in the next steps: in a forward pass, or while a state is being written.
        threading.Timer(random.random() * 0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()

recipe = VelocityRecipe.preset(
    "quick", concept_trajectories=2, preserve_trajectories=2, trajectory_steps=2, steps=150, rank=4, eta=20.0,
    refresh_every=60, trajectory_cache="disk",
)
erase_velocity(load_model(model, device="cpu"), "ghost", recipe, log_folder=log, on_progress=on_progress).save(out)
"""
NEVER = -1


def train(log: Path, out: Path, kill_at: int) -> int:
    model = TINY_MODELS["cogvideox-2b"].folder
    command = [sys.executable, "-c", CHILD, model, log, out, str(kill_at)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, timeout=600).returncode


@pytest.mark.slow
def test_a_training_killed_at_random_points_ends_bit_for_bit_as_one_that_was_not(tmp_path: Path) -> None:
    """Slow because every life of the training is a process of its own that imports torch."""
    points = sorted(random.sample(range(26, 100), 2))
    assert train(tmp_path / "whole", tmp_path / "whole.safetensors", NEVER) == 0
    for point in points:
        assert train(tmp_path / "log", tmp_path / "resumed.safetensors", point) == -signal.SIGKILL, points
        assert not (tmp_path / "resumed.safetensors").exists()
    assert train(tmp_path / "log", tmp_path / "resumed.safetensors", NEVER) == 0
    whole, resumed = (Erasure.load(tmp_path / f"{name}.safetensors") for name in ("whole", "resumed"))
    assert whole.training["losses"] == resumed.training["losses"], points
    assert all(torch.equal(whole.tensors[name], resumed.tensors[name]) for name in whole.tensors), points
