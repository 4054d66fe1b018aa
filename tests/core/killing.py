"""A training in processes of its own, killed at random points and begun again, beside one that was left alone."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import torch

from t2vu_core.erasure import Erasure

REPOSITORY = Path(__file__).parents[2]
NEVER = -1
CHILD = """
import os, random, signal, sys, threading
from pathlib import Path
from t2vu_core.model import load_model

model, log, out, kill_at = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def on_progress(progress):
    if progress.stage == "training" and progress.step == kill_at:
        # Somewhere in the next steps: in a forward pass, or while a state is being written.
        threading.Timer(random.random() * 0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()

model = load_model(model, device="cpu")
"""


def assert_kills_change_nothing(training: str, model: Path, folder: Path) -> None:
    """`training`: code that trains `model` with `log` and `on_progress` for 150 steps and saves the erasure at `out`."""

    def train(log: str, name: str, kill_at: int) -> int:
        command = [sys.executable, "-c", CHILD + training, model, folder / log, folder / name, str(kill_at)]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, timeout=600).returncode

    points = sorted(random.sample(range(26, 100), 2))
    assert train("whole", "whole.safetensors", NEVER) == 0
    for point in points:
        assert train("log", "resumed.safetensors", point) == -signal.SIGKILL, points
        assert not (folder / "resumed.safetensors").exists()
    assert train("log", "resumed.safetensors", NEVER) == 0
    whole, resumed = (Erasure.load(folder / f"{name}.safetensors") for name in ("whole", "resumed"))
    assert whole.training["losses"] == resumed.training["losses"], points
    assert all(torch.equal(whole.tensors[name], tensor) for name, tensor in resumed.tensors.items()), points
