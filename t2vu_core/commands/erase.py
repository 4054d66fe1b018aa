"""`t2vu erase`: train an eraser of a concept (velocity erasing)."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from typing import Any

from t2vu_core.commands.options import kept_on_interrupt, open_model, training_bar
from t2vu_core.commands.training import STOPPED, TrainingFiles, add_training, settings_of, told
from t2vu_core.recipes import LOW_MEMORY, VelocityRecipe
from t2vu_core.training.sharding import shard_base
from t2vu_core.training.velocity.train import MASK_OVERLAY, erase_velocity
from t2vu_core.training.workers import Workers

HELP = "train an eraser of a concept into a file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, concept, recipe and output."""
    add_training(parser, VelocityRecipe, log="keep here the state, to resume from, and a clip under the concept's mask")
    parser.add_argument("--language-model", metavar="DIR", help="a transformers folder that writes prompts with the concept")
    parser.add_argument(
        "--low-memory", action="store_true",
        help=f"for a model that fills its device: {', '.join(f'{name}={value}' for name, value in LOW_MEMORY.items())}",
    )  # fmt: skip


def run(options: argparse.Namespace) -> dict[str, Any] | None:
    """Train and write the erasure; of several processes (`accelerate launch`) the first one writes, the others give None."""
    settings = {**(LOW_MEMORY if options.low_memory else {}), **settings_of(options)}
    recipe, files = VelocityRecipe.preset(options.preset, **settings), TrainingFiles.of(options)
    workers = Workers.join(options.device)
    if workers.sharded:
        options.device = "cpu"
    elif workers.count > 1 and options.device is None:
        options.device = str(workers.device)
    model = open_model(options)
    if workers.sharded:
        model = dataclasses.replace(model, family=shard_base(model.family, workers))
    with contextlib.ExitStack() as stack:
        on_progress = stack.enter_context(training_bar()) if workers.first else None
        if on_progress is not None and workers.count == 1:
            on_progress = stack.enter_context(kept_on_interrupt(on_progress))
        erasure = erase_velocity(model, files.request(options), recipe, log_folder=files.log_folder, on_progress=on_progress)
    path = erasure.save(files.out) if workers.first else None
    Workers.leave()
    if path is None:
        return None
    losses = erasure.training["losses"]
    return {
        "out": str(path),
        "concept": ", ".join(erasure.concepts),
        "model": model.name,
        "seconds": erasure.training["seconds"],
        "steps": len(losses),
        "loss": losses[-1],
        "stopped": len(losses) < recipe.steps and not erasure.training["diverged"],
        "diverged": erasure.training["diverged"],
        "warning": erasure.training["warning"],
        "mask_overlay": str(files.log_folder / MASK_OVERLAY) if files.log_folder else None,
        "scores": None,
    }


def show(result: dict[str, Any]) -> str:
    """What was written."""
    stopped = STOPPED if result["stopped"] else ""
    made = f"an eraser of {result['concept']!r}, {result['steps']} steps in {result['seconds']} s.{stopped}"
    return told(f"{result['out']}: {made}", result["warning"])
