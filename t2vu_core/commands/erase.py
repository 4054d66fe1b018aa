"""`t2vu erase`: train an eraser of a concept (velocity erasing)."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from t2vu_core.commands.options import (
    add_model,
    kept_on_interrupt,
    log_folder_of,
    open_model,
    parse_options,
    read_prompts,
    training_bar,
)
from t2vu_core.erasure import check_writable
from t2vu_core.errors import UserError
from t2vu_core.recipes import LOW_MEMORY, PRESETS, VelocityRecipe
from t2vu_core.training.sharding import shard_base
from t2vu_core.training.velocity import MASK_OVERLAY, erase_velocity
from t2vu_core.training.workers import Workers

HELP = "train an eraser of a concept into a file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, concept, recipe and output."""
    add_model(parser)
    parser.add_argument("--concept", required=True, action="append", metavar="C",
                        help='what is to go, in words: "ghost", "in noir style"; may be given again')  # fmt: skip
    parser.add_argument("--out", required=True, metavar="F", help="the erasure file to write (.safetensors)")
    parser.add_argument("--preset", choices=PRESETS, default="balanced")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--synonym", action="append", default=[], help="another name of the concept; may be given again")
    parser.add_argument("--concept-prompts", metavar="FILE", help="prompts that say the concept, one a line")
    parser.add_argument("--language-model", metavar="DIR", help="a transformers folder that writes prompts with the concept")
    parser.add_argument("--preserve-prompts", metavar="FILE", help="prompts that must keep working, one a line")
    parser.add_argument("--log", metavar="DIR", help="keep here the state, to resume from, and a clip under the concept's mask")
    parser.add_argument("--resume", action="store_true", help="go on with the state in --log")
    parser.add_argument(
        "--low-memory", action="store_true",
        help=f"for a model that fills its device: {', '.join(f'{name}={value}' for name, value in LOW_MEMORY.items())}",
    )  # fmt: skip
    parser.add_argument(
        "--method-option", action="append", default=[], metavar="KEY=VALUE",
        help=f"change a setting of the recipe: {', '.join(option.name for option in dataclasses.fields(VelocityRecipe))}",
    )  # fmt: skip


def run(options: argparse.Namespace) -> dict[str, Any] | None:
    """Train and write the erasure; of several processes (`accelerate launch`) the first one writes, the others give None."""
    settings = {"seed": options.seed, **(LOW_MEMORY if options.low_memory else {}), **parse_options(options.method_option)}
    recipe = VelocityRecipe.preset(options.preset, **settings)
    out = Path(options.out)
    if out.is_dir():
        raise UserError(f"{out} is a folder; name the file to write, for example {out / 'ghost.safetensors'}.")
    check_writable(out)
    log_folder = log_folder_of(options)
    prompts: dict[str, Any] = {name: read_prompts(getattr(options, name)) for name in ("concept_prompts", "preserve_prompts")}
    prompts["language_model"] = Path(options.language_model) if options.language_model else None
    workers = Workers.join(options.device)
    if workers.sharded:
        options.device = "cpu"
    elif workers.count > 1 and options.device is None:
        options.device = str(workers.device)
    model = open_model(options)
    if workers.sharded:
        shard_base(model.family, workers)
    with contextlib.ExitStack() as stack:
        on_progress = stack.enter_context(training_bar()) if workers.first else None
        if on_progress is not None and workers.count == 1:
            on_progress = stack.enter_context(kept_on_interrupt(on_progress))
        erasure = erase_velocity(
            model, options.concept, recipe, synonyms=options.synonym, log_folder=log_folder, on_progress=on_progress, **prompts
        )
    path = erasure.save(out) if workers.first else None
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
        "stopped": len(losses) < recipe.steps,
        "warning": erasure.training["warning"],
        "mask_overlay": str(log_folder / MASK_OVERLAY) if log_folder else None,
        "scores": None,
    }


def show(result: dict[str, Any]) -> str:
    """What was written; a falling loss is no proof, so it says what to do next."""
    stopped = " It was stopped there; --log and --resume would go on." if result["stopped"] else ""
    lines = [
        f"{result['out']}: an eraser of {result['concept']!r}, {result['steps']} steps in {result['seconds']} s.{stopped}",
        "It is not measured yet: `t2vu evaluate` says what is gone and what was kept.",
    ]
    return "\n".join([*lines, *([f"Warning: {result['warning']}"] if result["warning"] else [])])
