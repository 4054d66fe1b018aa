"""`t2vu erase`: train an eraser of a concept (velocity erasing)."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from t2vu_core.commands.options import add_model, open_model, training_bar
from t2vu_core.erasure import check_writable
from t2vu_core.errors import UserError
from t2vu_core.recipes import LOW_MEMORY, PRESETS, VelocityRecipe
from t2vu_core.training.loop import StopEarly
from t2vu_core.training.progress import ProgressCallback, TrainProgress
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


@contextlib.contextmanager
def kept_on_interrupt(on_progress: ProgressCallback) -> Iterator[ProgressCallback]:
    """Within, Ctrl-C ends the training at the next step and keeps what was trained; a second one ends the command.

    Before the first step there is nothing to keep: then one is enough.
    """
    asked = training = False

    def ask(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def tell(progress: TrainProgress) -> None:
        nonlocal training
        training = training or progress.stage == "training"
        on_progress(progress)
        if asked:
            raise StopEarly if training else KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield on_progress
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield tell
    finally:
        signal.signal(signal.SIGINT, before)


def log_folder_of(options: argparse.Namespace) -> Path | None:
    if options.log is None:
        if options.resume:
            raise UserError("--resume needs --log DIR, the folder that keeps the state.")
        return None
    state = Path(options.log) / "state.safetensors"
    if options.resume and not state.is_file():
        raise UserError(f"There is no state to resume in {options.log}.")
    if state.is_file() and not options.resume:
        raise UserError(f"{options.log} holds the state of a training; add --resume to go on, or name another folder.")
    return Path(options.log)


def parse_options(pairs: list[str]) -> dict[str, int | float | str]:
    """`["eta=3", "augmentation=grammar", ...]` -> settings, as numbers or true and false where they are."""
    settings: dict[str, int | float | str] = {}
    for pair in pairs:
        key, separator, value = (part.strip() for part in pair.partition("="))
        if not separator or not value:
            raise UserError(f"--method-option takes KEY=VALUE, for example eta=3; {pair!r} is not that.")
        settings[key] = _value(value)
    return settings


def _value(text: str) -> int | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def read_prompts(path: str | None) -> list[str]:
    """Prompts of a text file, one a line; empty lines do not count."""
    if path is None:
        return []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The prompts in {path} cannot be read: {error}.") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise UserError(f"{path} holds no prompts: write one a line.")
    return prompts
