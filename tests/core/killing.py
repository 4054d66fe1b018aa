"""A training run in processes of its own, killed at random points and begun again, and one that was left alone."""

from __future__ import annotations

import os
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
import os, random, signal, sys, threading, time
from pathlib import Path
from t2vu_core.model import load_model

model, log, out, kill_at = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

steps = []

def on_progress(progress):
    if progress.stage != "training":
        return
    steps.append(time.monotonic())
    if progress.step == kill_at:
        # Somewhere in the next steps, however fast they are: in a forward pass, or while a state is being written.
        pace = steps[-1] - steps[-2] if len(steps) > 1 else 0.0
        threading.Timer(random.random() * 5 * pace, os.kill, (os.getpid(), signal.SIGKILL)).start()

model = load_model(model, device="cpu")
"""


def assert_kills_change_nothing(training: str, model: Path, folder: Path) -> None:
    """`training`: code that trains `model` with `log` and `on_progress` for 100 steps and saves the erasure at `out`."""

    def train(log: str, name: str, kill_at: int, ends: int) -> None:
        command = [sys.executable, "-c", CHILD + training, model, folder / log, folder / name, str(kill_at)]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, env=env)
        assert ended.returncode == ends, (points, kill_at, ended.stderr[-2000:])

    # Whatever state the first life leaves (one is written every 25 steps), the second begins before its own point.
    points = random.randrange(26, 45), random.randrange(56, 80)
    train("whole", "whole.safetensors", NEVER, 0)
    for point in points:
        train("log", "resumed.safetensors", point, -signal.SIGKILL)
        assert not (folder / "resumed.safetensors").exists()
    train("log", "resumed.safetensors", NEVER, 0)
    whole, resumed = (Erasure.load(folder / f"{name}.safetensors") for name in ("whole", "resumed"))
    assert whole.training["losses"] == resumed.training["losses"], points
    assert all(torch.equal(whole.tensors[name], tensor) for name, tensor in resumed.tensors.items()), points
