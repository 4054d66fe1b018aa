"""Kills training runs at random moments, resumes them, and compares each with a run that was left alone.

    .venv/bin/python -m tools.campaign_kills --count 50
    .venv/bin/python -m tools.campaign_kills --count 50 --piece 1/5 --out 1.json     # a long run in pieces
    .venv/bin/python -m tools.campaign_kills --join 1.json 2.json 3.json 4.json 5.json

Each run is killed once (SIGKILL): while it samples trajectories, in a step, or while a state is written; one in five while the
erasure is written. The resumed run must give the same losses and tensors bit for bit, and no temporary file may be left. The
exit code is 1 if one does not.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import torch

from t2vu_core.erasure import Erasure
from t2vu_core.model import T2VModel, load_model
from t2vu_core.prompts.common_concepts import common_concept
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.velocity.train import erase_velocity
from tools.campaign import piece
from tools.say import say

STEPS = 32
"""A state is written every 25 steps."""


class Killed(NamedTuple):
    """A run that was killed and resumed."""

    step: int
    """The last step that it had reported when it was killed; 0 before the first."""
    equal: bool
    leftovers: list[str]
    """What was left after it was resumed."""
    in_writing: bool = False
    """Whether it was killed while it wrote the erasure."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, resume and compare; 1 if a resumed run differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50, help="runs to kill (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("--piece", type=piece, default=(1, 1), metavar="K/N", help="only the Kth of N parts of the runs")
    parser.add_argument("--out", type=Path, help="JSON file for what became of each run")
    parser.add_argument("--join", type=Path, nargs="+", help="print the result of files of --out, and run nothing")
    options = parser.parse_args(arguments)
    if options.join:
        return _tell([Killed(**one) for file in options.join for one in json.loads(file.read_text("utf-8"))])
    killed = _campaign(range(options.count)[options.piece[0] - 1 :: options.piece[1]], options.seed)
    if options.out:
        options.out.write_text(json.dumps([one._asdict() for one in killed], indent=1), "utf-8")
    return _tell(killed)


def _campaign(numbers: Sequence[int], seed: int) -> list[Killed]:
    """Train once to the end, then kill and resume the runs of these numbers."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    work = Path(tempfile.mkdtemp(prefix="t2vu-kills-"))
    try:
        start = time.monotonic()
        _join(_start(work / "whole", work / "whole.safetensors"))
        seconds, whole = time.monotonic() - start, Erasure.load(work / "whole.safetensors")
        return [_killed(work / f"run{number}", whole, random.Random(f"{seed} {number}"), seconds) for number in numbers]
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _tell(killed: Sequence[Killed]) -> int:
    alike, clean = sum(one.equal for one in killed), sum(not one.leftovers for one in killed)
    early = sum(one.step == 0 for one in killed)
    steps = ", ".join(str(one.step) for one in sorted(killed) if one.step)
    writing = sum(one.in_writing for one in killed)
    say(f"killed before the first step: {early}; while the erasure was written: {writing}; at steps {steps}")
    say(f"{alike} of {len(killed)} resumed runs are equal bit for bit to the whole one; {clean} left no temporary file")
    return 0 if alike == clean == len(killed) else 1


def _killed(folder: Path, whole: Erasure, rng: random.Random, seconds: float) -> Killed:
    """Train, kill at a random moment of a whole run's time, resume to the end, compare."""
    out, steps = folder / "out.safetensors", folder / "steps"
    folder.mkdir()
    process, first = _start(folder / "log", out, steps), time.monotonic()
    moment, at_the_end = rng.uniform(0.05, 1.0), rng.random() < 0.2
    while process.is_alive() and time.monotonic() - first < 10 * seconds + 60:
        if _is_written(out) if at_the_end else _reached(steps, moment):
            break
        time.sleep(0.0002)
    time.sleep(0.0 if at_the_end else rng.random() * 0.05)
    process.kill()
    process.join()
    step, in_writing = _step(steps), _is_written(out)
    out.unlink(missing_ok=True)
    _join(_start(folder / "log", out))
    resumed = Erasure.load(out)
    equal = resumed.training["losses"] == whole.training["losses"] and all(
        torch.equal(tensor, whole.tensors[name]) for name, tensor in resumed.tensors.items()
    )
    return Killed(step, equal, [path.name for path in folder.rglob(".*")], in_writing)


def _is_written(out: Path) -> bool:
    """Whether its temporary folder is there; before the training run, there is one for a moment, too."""
    return _step(out.parent / "steps") == STEPS and any(out.parent.glob(f".{out.stem}*"))


def _reached(steps: Path, moment: float) -> bool:
    return _step(steps) >= moment * STEPS - 5


def _step(steps: Path) -> int:
    """How many steps the run has reported: a byte each."""
    return steps.stat().st_size if steps.exists() else 0


@functools.cache
def _warm() -> T2VModel:
    """The model, loaded before the first fork; what is known about words is read, too."""
    common_concept("ghost")
    return load_model("miniature", device="cpu")


def _start(log: Path, out: Path, steps: Path | None = None) -> BaseProcess:
    # A fork of this process, which has loaded the model and computes with one thread only.
    _warm()
    process = multiprocessing.get_context("fork").Process(target=_train, args=(log, out, steps), daemon=True)
    process.start()
    return process


def _join(process: BaseProcess) -> None:
    process.join()
    if process.exitcode:
        raise RuntimeError(f"A training run ended with {process.exitcode}.")


def _train(log: Path, out: Path, steps: Path | None) -> None:
    # As in campaign_worker: PyTorch replaces its pool of threads at the first use after a fork.
    torch.set_num_threads(1)
    recipe = VelocityRecipe.preset(
        "quick", steps=STEPS, concept_trajectories=2, preserve_trajectories=2, trajectory_steps=2, num_frames=1, rank=4,
        concept_batch=1, preserve_batch=1, refresh_every=20, trajectory_cache="disk",
    )  # fmt: skip

    def on_progress(progress: object) -> None:
        if steps is not None and getattr(progress, "stage", "") == "training":
            with steps.open("ab") as file:
                file.write(b".")

    erase_velocity(_warm(), "ghost", recipe, log_folder=log, on_progress=on_progress).save(out)


if __name__ == "__main__":
    sys.exit(main())
