"""Every setting of a model folder's configurations with values that it cannot have, tried by every command that computes.

A folder that is refused when it is loaded is refused by every command; the others are given to all of them.
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
VALUES: tuple[Any, ...] = (0, -1, 1, 2, 7, 0.5, -1e-9, 1e30, 10**20, 2**31, "x", "1", None, True, [], [1], [1, 1, 1, 1], {})
REFUSED_WHEN_LOADED = ("cannot be loaded", "cannot make a clip")
SMALL = ("--num-frames", "1", "--steps", "1")


def settings(work: Path, count: int, seed: int) -> list[tuple[str, Path]]:
    """`count` folders with a setting each, or all there are; what was changed, and the folder."""
    every = []
    for name in MODELS:
        source = bundled_folder(name)
        assert source is not None
        for config in sorted(source.rglob("*config.json")):
            place = config.relative_to(source)
            every += [(source, place, key, value) for key in _keys(config) for value in VALUES]
    chosen = random.Random(f"{seed} settings").sample(every, min(count, len(every)))
    made = []
    for number, (source, place, key, value) in enumerate(chosen):
        folder = work / "settings" / f"{number:05d}"
        linked_folder(source, folder)
        content = json.loads((source / place).read_text(encoding="utf-8"))
        (folder / place).unlink()
        (folder / place).write_text(json.dumps({**content, key: value}), encoding="utf-8")
        made.append((f"{source.name}/{place}: {key} = {json.dumps(value)}", folder))
    return made


def _keys(config: Path) -> list[str]:
    """The settings that are numbers, switches, lists or unset."""
    content = json.loads(config.read_text(encoding="utf-8"))
    return [key for key, value in content.items() if not isinstance(value, str | dict)]


def run_settings(work: Path, count: int, seed: int, *, processes: int, limit: float) -> Iterator[Ended]:
    """Sample from each folder, then give those that were not refused at once to the other commands."""
    made = settings(work, count, seed)
    first = [Job("settings, sample", name, _sample(work, folder)) for name, folder in made]
    folders, left = dict(made), []
    for ended in run_jobs(first, processes=processes, limit=limit):
        if not any(words in ended.said for words in REFUSED_WHEN_LOADED):
            left.append(ended.job.name)
        yield ended
    others = [
        Job(f"settings, {kind}", name, command)
        for name in sorted(left)
        for kind, command in _others(work, folders[name]).items()
    ]
    yield from run_jobs(others, processes=processes, limit=limit)


def _sample(work: Path, folder: Path) -> tuple[str, ...]:
    out = str(work / "out.webp")
    return ("sample", "--model", str(folder), "--device", "cpu", *SMALL, "--prompt", "a ghost walks", "--out", out)


def _others(work: Path, folder: Path) -> dict[str, tuple[str, ...]]:
    """The other commands that compute with a model, each as short as it can be."""
    prompts, model = work / "prompts.txt", ("--model", str(folder), "--preset", "quick")
    prompts.write_text("a ghost walks in the rain\n", encoding="utf-8")
    own, out = (*model, "--device", "cpu", "--concept", "ghost"), ("--out", str(work / "out"))
    shots = ("shots=1", "shot_steps=1", "steps=1", "num_frames=1")
    return {
        "erase": ("erase", *own, *STEPS, *out),
        "unlearn-encoder": ("unlearn-encoder", *own, *_options(shots), *out),
        "evaluate": ("evaluate", *own, "--prompts", str(prompts), "--steps", "1", *out),
        "plan": ("plan", *model, "--memory"),
    }


def _options(settings: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for setting in settings for part in ("--method-option", setting))
