"""`t2vu erase`: train an eraser of a concept (velocity erasing)."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from typing import Any

from t2vu_core.commands.erase_closed_form import run_closed_form, show_closed_form
from t2vu_core.commands.neutral_look import add_neutral_check, check_only, checked_order, noted, show_check
from t2vu_core.commands.options import DTYPES, add_placement, open_model, placement_of
from t2vu_core.commands.progress_bars import kept_on_interrupt, note, training_bar
from t2vu_core.commands.training import TrainingOrder, add_training, closing_message, settings_of
from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.memory.explain import limit_of, memory_line
from t2vu_core.memory.placement import AS_LOADED
from t2vu_core.memory.presets import fixed_settings, memory_preset
from t2vu_core.memory.shapes import check_source
from t2vu_core.model import T2VModel
from t2vu_core.recipes import LOW_MEMORY, ClosedFormRecipe, VelocityRecipe
from t2vu_core.training.sharding import shard_base
from t2vu_core.training.velocity.train import MASK_OVERLAY, erase_velocity
from t2vu_core.training.workers import Workers

METHODS = ("velocity", "closed_form")
HELP = "train an eraser: modules in the denoiser that move its predictions away from a concept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, concept, recipe and output."""
    add_training(parser, VelocityRecipe, log="folder for the state, to resume from, and for a clip with the concept's mask")
    parser.add_argument(
        "--method", choices=METHODS, default="velocity",
        help="velocity: training steps; closed_form: one linear solve for keys and values of the text, in seconds, written "
        f"as a LoRA; its settings: {', '.join(option.name for option in dataclasses.fields(ClosedFormRecipe))} "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--language-model", metavar="DIR",
                        help="a transformers folder that writes half of the prompts and names neighbours")  # fmt: skip
    parser.add_argument(
        "--low-memory", action="store_true",
        help=f"for a model that fills its device: {', '.join(f'{name}={value}' for name, value in LOW_MEMORY.items())}",
    )  # fmt: skip
    parser.add_argument(
        "--memory", type=float, metavar="GB",
        help="choose frames, size, batch, checkpointing and --offload so that the plan fits in a GPU of that size (8, 12, 16, "
        "24), with the base in bf16; settings of --method-option stay",
    )  # fmt: skip
    add_neutral_check(parser)
    add_placement(parser)


def run(options: argparse.Namespace) -> dict[str, Any] | None:
    """Train and write the erasure. With several processes (`accelerate launch`), only rank 0 writes; the others return None."""
    if options.method == "closed_form":
        return run_closed_form(options)
    settings = {**(LOW_MEMORY if options.low_memory else {}), **settings_of(options)}
    recipe = VelocityRecipe.preset(options.preset, **settings)
    if options.check_only:
        return check_only(open_model(options), recipe, options)
    order = TrainingOrder.of(options)
    if options.memory is not None:
        recipe = _fitted(options, recipe)
    workers = Workers.join(options.device)
    if workers.sharded and placement_of(options) != AS_LOADED:
        raise UserError("--offload and --base-dtype are for one process; with FSDP the denoiser is spread over all of them.")
    model = _open(options, workers)
    if workers.first and not workers.sharded and (line := memory_line(model.family, recipe)):
        note(line)
    check = None
    if workers.count == 1:
        order, check = checked_order(model, order, recipe, options)
    elif workers.first and not options.no_check:
        # Processes could choose differently.
        note("Several processes do not look at the neutral prompts: run it once with --check-only in one process.")
    erasure = noted(_train(model, order, recipe, workers), check)
    path = order.save(erasure) if workers.first else None
    Workers.leave()
    if path is None:
        return None
    losses, diverged = erasure.training["losses"], erasure.training["diverged"]
    return {
        "out": str(path),
        "concept": ", ".join(erasure.concepts),
        "model": model.name,
        "seconds": erasure.training["seconds"],
        "steps": len(losses),
        "loss": losses[-1],
        "stopped": len(losses) < recipe.steps and not diverged,
        "diverged": diverged,
        "warning": erasure.training["warning"],
        "mask_overlay": str(order.log_folder / MASK_OVERLAY) if order.log_folder else None,
        "log": order.log_folder and str(order.log_folder),
        "scores": None,
        "neutral_check": check and check.describe(),
    }


def show(result: dict[str, Any]) -> str:
    """What was written, or what the neutral check found."""
    if result.get("method") == "closed_form":
        return show_closed_form(result)
    if "tried" in result:
        return show_check(result)
    made = f"{result['out']}: an eraser of {result['concept']!r}, {result['steps']} steps in {result['seconds']} s."
    return closing_message(made, stopped=result["stopped"], log=result["log"], warning=result["warning"])


def _fitted(options: argparse.Namespace, recipe: VelocityRecipe) -> VelocityRecipe:
    """The recipe with the settings of `--memory`; the options get its placement."""
    if placement_of(options) != AS_LOADED or options.low_memory:
        raise UserError("--memory chooses --offload, --base-dtype and what --low-memory sets: give it alone, or give those.")
    limit, _ = limit_of(None, options.memory)
    source = check_source(options.model, options.config, options.model_low_noise)
    options.dtype = "bf16" if options.dtype == "fp32" else options.dtype
    found = memory_preset(source, limit, recipe, DTYPES[options.dtype], fixed_settings(settings_of(options)))
    options.offload, options.base_dtype = found.placement.offload, found.placement.base_dtype
    note(found.describe())
    return dataclasses.replace(recipe, **found.settings)


def _open(options: argparse.Namespace, workers: Workers) -> T2VModel:
    """The model on this worker's device, or spread over all workers if they share the denoiser (FSDP)."""
    if workers.sharded:
        model = open_model(options, device="cpu")
        return dataclasses.replace(model, family=shard_base(model.family, workers))
    own = str(workers.device) if workers.count > 1 and options.device is None else None
    return open_model(options, device=own)


def _train(model: T2VModel, order: TrainingOrder, recipe: VelocityRecipe, workers: Workers) -> Erasure:
    """Train with a progress bar on rank 0; a single process also stops on Ctrl-C and keeps what was trained."""
    with contextlib.ExitStack() as stack:
        on_progress = stack.enter_context(training_bar()) if workers.first else None
        if on_progress is not None and workers.count == 1:
            on_progress = stack.enter_context(kept_on_interrupt(on_progress))
        return erase_velocity(model, order.request, recipe, log_folder=order.log_folder, on_progress=on_progress)
