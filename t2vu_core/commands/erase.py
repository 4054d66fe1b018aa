"""`t2vu erase`: train an eraser of a concept (velocity erasing)."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from PIL import Image

from t2vu_core.commands.concept_options import request_of
from t2vu_core.commands.erase_closed_form import run_closed_form, show_closed_form
from t2vu_core.commands.options import DTYPES, add_placement, open_model, placement_of
from t2vu_core.commands.progress_bars import kept_on_interrupt, note, training_bar
from t2vu_core.commands.training import TrainingOrder, add_training, closing_message, settings_of
from t2vu_core.erasure import Erasure, atomic_path
from t2vu_core.errors import UserError
from t2vu_core.evaluation.detectors import open_detector
from t2vu_core.evaluation.neutral_check import NeutralCheck, check_neutral
from t2vu_core.memory.explain import limit_of, memory_line
from t2vu_core.memory.placement import AS_LOADED
from t2vu_core.memory.presets import fixed_settings, memory_preset
from t2vu_core.memory.shapes import check_source
from t2vu_core.model import T2VModel
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import LOW_MEMORY, ClosedFormRecipe, VelocityRecipe
from t2vu_core.training.sharding import shard_base
from t2vu_core.training.velocity.train import MASK_OVERLAY, erase_velocity
from t2vu_core.training.workers import Workers
from t2vu_core.video import enlarge, to_uint8

METHODS = ("velocity", "closed_form")
HELP = "train an eraser: modules in the denoiser that move its predictions away from a concept"

NEUTRAL_PICTURE, SHEET_HEIGHT = "neutral_check.png", 768


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
    parser.add_argument("--check-only", action="store_true",
                        help="only look at what takes the concept's place: a few clips of the neutral prompts")  # fmt: skip
    parser.add_argument("--no-check", action="store_true", help="train without that look")
    parser.add_argument(
        "--detector", metavar="D", help="what judges those clips, for example clip:FOLDER (default: the bundled models' own)"
    )
    add_placement(parser)


def run(options: argparse.Namespace) -> dict[str, Any] | None:
    """Train and write the erasure. With several processes (`accelerate launch`), only rank 0 writes; the others return None."""
    if options.method == "closed_form":
        if options.check_only:
            raise UserError("--check-only is for --method velocity: a closed form takes seconds, so look at its clips.")
        return run_closed_form(options)
    settings = {**(LOW_MEMORY if options.low_memory else {}), **settings_of(options)}
    recipe = VelocityRecipe.preset(options.preset, **settings)
    if options.check_only:
        return _check_only(options, recipe)
    order = TrainingOrder.of(options)
    if options.memory is not None:
        recipe = _fitted(options, recipe)
    workers = Workers.join(options.device)
    if workers.sharded and placement_of(options) != AS_LOADED:
        raise UserError("--offload and --base-dtype are for one process; with FSDP the denoiser is spread over all of them.")
    model = _open(options, workers)
    if workers.first and not workers.sharded and (line := memory_line(model.family, recipe)):
        note(line)
    # Processes could choose differently, so only a single one looks.
    check = None if options.no_check or workers.count > 1 else _check(model, order.request, recipe, options)
    if workers.first and workers.count > 1 and not options.no_check:
        note("Several processes do not look at the neutral prompts: run it once with --check-only in one process.")
    if check is not None:
        order = dataclasses.replace(order, request=check.request)
        note(check.message)
        if order.log_folder is not None:
            _save_sheet(check, order.log_folder)
    erasure = _train(model, order, recipe, workers)
    if check is not None:
        erasure = dataclasses.replace(erasure, prompts={**erasure.prompts, "neutral_check": check.describe()})
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


def _check_only(options: argparse.Namespace, recipe: VelocityRecipe) -> dict[str, Any]:
    """Look at the neutral prompts and train nothing; the picture goes into `--log`."""
    check = _check(open_model(options), request_of(options), recipe, options)
    picture = _save_sheet(check, Path(options.log)) if options.log else None
    return {**check.describe(), "picture": picture and str(picture)}


def _check(model: T2VModel, request: ConceptRequest, recipe: VelocityRecipe, options: argparse.Namespace) -> NeutralCheck:
    detector = open_detector(options.detector, model) if options.detector else None
    with training_bar() as on_progress:
        return check_neutral(model, request, recipe, detector=detector, on_progress=on_progress)


def _save_sheet(check: NeutralCheck, folder: Path) -> Path:
    sheet = check.sheet()
    picture = Image.fromarray(to_uint8(enlarge(sheet[None], max(1, SHEET_HEIGHT // sheet.shape[-2])))[0])
    with atomic_path(folder / NEUTRAL_PICTURE) as temporary:
        picture.save(temporary)
    return folder / NEUTRAL_PICTURE


def show(result: dict[str, Any]) -> str:
    """What was written, or what the neutral check found."""
    if result.get("method") == "closed_form":
        return show_closed_form(result)
    if "tried" in result:
        return "\n".join(filter(None, (result["message"], result["picture"])))
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
