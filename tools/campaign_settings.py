"""Every setting of a model folder's configurations with values that it cannot have, tried by the commands that compute.

A folder that is refused when it is loaded is refused by every command; each of the others is given to a second one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from t2vu_core.miniature.bundled import bundled_folder
from tools.campaign_readers import STEPS, linked_folder
from tools.campaign_worker import Ended, Job, run_jobs

MODELS = ("miniature", "miniature-unet", "miniature-ltx")
VALUES: tuple[Any, ...] = (0, -1, 1e30, 10**20, "x", None, [], [1])
REFUSED_WHEN_LOADED = ("cannot be loaded", "cannot make a clip")
SMALL = ("--num-frames", "1", "--steps", "2")
"""LTX-Video makes no schedule of one step."""


def settings(work: Path, count: int, seed: int) -> dict[str, Path]:
    """`count` folders with a changed setting each, or all there are, by what was changed."""
    every = []
    for name in MODELS:
        source = bundled_folder(name)
        assert source is not None
        for config in sorted(source.rglob("*config.json")):
            every += [(source, config.relative_to(source), key, value) for key in _keys(config) for value in VALUES]
    chosen = random.Random(f"{seed} settings").sample(every, min(count, len(every)))
    return {
        f"{source.name}/{place}: {key} = {json.dumps(value)}": _with(
            source, place, {key: value}, work / f"settings/{number:05d}"
        )
        for number, (source, place, key, value) in enumerate(chosen)
    }


def _with(source: Path, place: Path, changed: dict[str, Any], folder: Path) -> Path:
    linked_folder(source, folder)
    content = json.loads((source / place).read_text(encoding="utf-8"))
    (folder / place).unlink()
    (folder / place).write_text(json.dumps({**content, **changed}), encoding="utf-8")
    return folder


def _keys(config: Path) -> list[str]:
    """The settings that are numbers, switches, lists or unset."""
    content = json.loads(config.read_text(encoding="utf-8"))
    return [key for key, value in content.items() if not isinstance(value, str | dict)]


def run_settings(work: Path, folders: dict[str, Path], *, processes: int, limit: float) -> Iterator[Ended]:
    """Sample from each folder, then give those that were not refused at once to one of the other commands, in turn."""
    first, left = [Job("settings, sample", name, _sample(work, folder)) for name, folder in folders.items()], []
    for ended in run_jobs(first, processes=processes, limit=limit):
        if not any(words in ended.said for words in REFUSED_WHEN_LOADED):
            left.append(ended.job.name)
        yield ended
    others = []
    for number, name in enumerate(sorted(left)):
        commands = list(_others(work, folders[name]).items())
        kind, command = commands[number % len(commands)]
        others.append(Job(f"settings, {kind}", name, command))
    yield from run_jobs(others, processes=processes, limit=limit)


def _sample(work: Path, folder: Path) -> tuple[str, ...]:
    out = str(work / "out.webp")
    return ("sample", "--model", str(folder), "--device", "cpu", *SMALL, "--prompt", "a ghost walks", "--out", out)


def _others(work: Path, folder: Path) -> dict[str, tuple[str, ...]]:
    """The other commands that compute with a model, each as short as it can be."""
    prompts, model = work / "prompts.txt", ("--model", str(folder), "--preset", "quick")
    prompts.write_text("a ghost walks in the rain\n", encoding="utf-8")
    own = (*model, "--device", "cpu", "--concept", "ghost")
    shots = ("shots=1", "shot_steps=2", "steps=1", "num_frames=1")
    return {
        "erase": ("erase", *own, *STEPS, "--method-option", "trajectory_steps=2", "--out", str(work / "made")),
        "unlearn-encoder": ("unlearn-encoder", *own, *_options(shots), "--out", str(work / "encoder")),
        "evaluate": ("evaluate", *own, "--prompts", str(prompts), "--steps", "2", "--out", str(work / "report")),
        "plan": ("plan", *model, "--memory"),
    }


def _options(settings: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for setting in settings for part in ("--method-option", setting))
