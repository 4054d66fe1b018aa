"""Velocity erasing: T2VUnlearning (arXiv 2505.17550) on cached trajectories of the frozen model."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Erasure
from t2vu_core.families.base import Family
from t2vu_core.families.spelling import check_visible
from t2vu_core.memory.explain import out_of_memory_explained
from t2vu_core.memory.placement import check_trainable, weights_kept
from t2vu_core.model import T2VModel
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.concept import understand
from t2vu_core.prompts.language_model import write_prompts
from t2vu_core.prompts.plan import NOT_WRITTEN, PromptPlan, plan_request, warn_unused
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.prompts.written import Written
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.sampling import denoise, guided, noise
from t2vu_core.threads import free_threads
from t2vu_core.training.checkpoint import Checkpoint, TrainingState
from t2vu_core.training.loop import train_while_finite
from t2vu_core.training.outcome import warn_outcome
from t2vu_core.training.progress import ProgressCallback, TrainProgress
from t2vu_core.training.record import training_record
from t2vu_core.training.run import Run, check_precision
from t2vu_core.training.sharding import check_batches
from t2vu_core.training.velocity.cache import TrajectoryCache
from t2vu_core.training.velocity.effect import measure_push
from t2vu_core.training.velocity.encoded_prompts import EncodedPrompts, encode_prompts
from t2vu_core.training.velocity.localizing import OutsideMask
from t2vu_core.training.velocity.mask_overlay import overlay
from t2vu_core.training.velocity.own_schedule import warn_few_steps
from t2vu_core.training.velocity.points import TrainingPoints, clip_size, sample_points
from t2vu_core.training.velocity.step import VelocityStep
from t2vu_core.training.workers import Workers
from t2vu_core.video import enlarge, save_video

METHOD = "velocity (T2VUnlearning, arXiv 2505.17550)"
MASK_OVERLAY = "mask_overlay.mp4"
PROMPT_SETTINGS = "concept_trajectories", "preserve_trajectories"
"""Settings that limit the number of prompts."""
VISIBLE_HEIGHT = 256
"""Smaller clips are enlarged for the overlay."""

VelocityRun = Run[VelocityRecipe]


def erase_velocity(
    model: T2VModel,
    concept: str | Sequence[str] | ConceptRequest,
    recipe: VelocityRecipe | None = None,
    *,
    log_folder: Path | None = None,
    unfinished_folder: Path | None = None,
    on_progress: ProgressCallback | None = None,
    show_mask: bool = False,
) -> Erasure:
    """Train erasers that make the model's denoiser forget a concept, or several at once.

    The model, with the erasures it carries, is the frozen teacher and is not changed. A `ConceptRequest` adds synonyms, own
    prompts and a language model to the concepts; the remaining prompts come from the model's prompt set, as
    `recipe.augmentation` says. With a `log_folder` the state is saved there, and the same call resumes exactly where it
    stopped; in `unfinished_folder` every run has a subfolder until it has made all its steps. A folder serves one run at a
    time. `on_progress` may raise StopEarly to keep what was trained so far. With `show_mask` or a `log_folder` it gets one
    event of the stage "mask" before the first step, whose preview is a clip (1, F, 3, H, W) under the concept's mask; a
    `log_folder` also gets mask_overlay.mp4. Under `accelerate launch` the processes train together, and each returns the same
    erasure. A value that is not finite ends the run: the erasure is that of the steps before, and its `training["warning"]`
    says so. Raises UserError if a concept is empty, the tokenizer cannot represent it or another run uses the folder, and
    TrainingDiverged if the first step fails.
    """
    request, recipe = ConceptRequest.of(concept), recipe or VelocityRecipe()
    workers, start = Workers.current(), time.monotonic()
    check_batches(recipe, workers)
    check_precision(model.family)
    with free_threads(), torch.inference_mode(False), model.active() as family:
        clip_size(family, recipe)
        check_trainable(family, checkpointing=recipe.gradient_checkpointing)
        check_visible(family.text.tokenizer, request.concepts)
        plan = _plan(request, family, recipe, on_progress)
        unused, few_steps = warn_unused(plan, request, PROMPT_SETTINGS), warn_few_steps(model.name, family, recipe)
        parts = recipe.describe(), plan.describe()
        checkpoint = Checkpoint.in_folder(log_folder, model, *parts, unfinished=unfinished_folder, about=request.title)
        state = TrainingState.begun(checkpoint, on_progress)
        with out_of_memory_explained(family, recipe, encoding=True):
            prompts = encode_prompts(family, plan, prompt_set_for(family.folder), recipe, on_progress)
        with (
            out_of_memory_explained(family, recipe),
            state.held(workers.first),
            family.offload_encoder(),
            TrajectoryCache.open(recipe, state.checkpoint, workers) as cache,
        ):
            run = Run(family, recipe, state, workers, cache, on_progress)
            points = _points(run, prompts, log_folder, show_mask=show_mask or log_folder is not None)
            sampled = time.monotonic() - start
            erasers, diverged = _train(run, points)
            push = measure_push(run, points, erasers, family.sites_of_kind(recipe.kind))
            if len(state.losses) == recipe.steps:
                run.finish()
    record = training_record(
        start, state, trajectory_seconds=round(sampled, 1), trajectory_bytes=points.num_bytes,
        partial=len(state.losses) < recipe.steps, pushed=push and round(push.share, 4), diverged=diverged,
        warning=" ".join(filter(None, (warn_outcome(request.title, push, diverged), unused, few_steps))) or None,
    )  # fmt: skip
    return Erasure(
        "eraser", request.concepts, model.base, erasers.named_tensors(), METHOD, recipe.describe(),
        _written(plan, request, model.family), record,
    )  # fmt: skip


def _written(plan: PromptPlan, request: ConceptRequest, family: Family) -> dict[str, Any]:
    """What the file keeps of the prompts, and where the erasers sit if that was found by name."""
    sites = {"sites": family.found} if family.found else {}
    return {**plan.describe(), "language_model": request.language_model and request.language_model.name, **sites}


def _points(run: VelocityRun, prompts: EncodedPrompts, log_folder: Path | None, *, show_mask: bool) -> TrainingPoints:
    """The sampled trajectories; with `show_mask` the first process reports where the concept is in one of them."""
    points = sample_points(run, prompts, "all" if run.recipe.localization_weight else "one" if show_mask else "none")
    if show_mask and run.workers.first:
        _report_mask(run, points, log_folder)
    return points


def velocity_plan(
    request: ConceptRequest, family: Family, recipe: VelocityRecipe, written: Mapping[str, Written] = NOT_WRITTEN
) -> PromptPlan:
    """The prompts of a run, without a pass of the model; `written` is what a language model wrote. Raises UserError."""
    size = PlanSize(recipe.concept_trajectories, recipe.preserve_trajectories, recipe.seed, recipe.augmentation)
    return plan_request(request, prompt_set_for(family.folder), size, written)


def _plan(request: ConceptRequest, family: Family, recipe: VelocityRecipe, on_progress: ProgressCallback | None) -> PromptPlan:
    """The prompts of the run; a language model of the request writes half of the concept's, the other half are short.

    It also names the neighbours if the user does not, unless the model has prompts of its own and knows no other words.
    """
    prompt_set, written = prompt_set_for(family.folder), NOT_WRITTEN
    if request.language_model is not None:
        concepts = understand(request, prompt_set)
        count = max(1, recipe.concept_trajectories // (2 * len(concepts)))

        def on_step(done: int, total: int) -> None:
            if on_progress is not None:
                on_progress(TrainProgress("prompts", done, total))

        written = write_prompts(
            request.language_model, concepts, count=count, seed=recipe.seed, device=family.device,
            neighbours=not (request.neighbours or prompt_set.own), on_step=on_step,
        )  # fmt: skip
    return velocity_plan(request, family, recipe, written)


def _report_mask(run: VelocityRun, points: TrainingPoints, log_folder: Path | None) -> None:
    """Report a clip under the concept's mask, and save it in the log folder."""
    clip = cache(partial(overlay, run.family, points, run.recipe.mask_threshold))
    run.report(TrainProgress("mask", 1, 1, preview=lambda: clip()[None]))
    if log_folder is not None:
        log_folder.mkdir(parents=True, exist_ok=True)
        factor = max(1, VISIBLE_HEIGHT // clip().shape[-2])
        save_video(enlarge(clip(), factor), log_folder / MASK_OVERLAY, fps=run.family.defaults.fps, loops=3)


def _train(run: VelocityRun, points: TrainingPoints) -> tuple[EraserSet, str | None]:
    """The erasers, and the message of the error that ended the run early, if any."""
    family, recipe, workers = run.family, run.recipe, run.workers
    sites = family.sites_of_kind(recipe.kind)
    erasers = EraserSet.create(sites, rank=recipe.rank, seed=recipe.seed).to(family.device)
    localizing = OutsideMask(family, sites, points.size)
    step = VelocityStep(run, points, erasers, localizing)

    def on_step(done: int, loss: float) -> None:
        # A sharded model can only draw a preview in all processes at once.
        preview = None if workers.sharded else partial(_preview, family, step.points)
        run.report(TrainProgress("training", done, recipe.steps, loss, preview))

    checkpointing = family.gradient_checkpointing() if recipe.gradient_checkpointing else contextlib.nullcontext()
    with torch.enable_grad(), checkpointing, weights_kept(family), erasers.attached(sites, record=localizing.record):
        _, diverged = train_while_finite(
            dict(erasers.named_parameters()), step.loss, run.schedule, state=run.state, on_step=on_step, workers=workers,
            factors=erasers.step_factors() if recipe.width_scaling else {},
        )  # fmt: skip
    return erasers.eval().requires_grad_(False), diverged


@torch.no_grad()
def _preview(family: Family, points: TrainingPoints) -> Tensor:
    """The first concept prompt as the student draws it now; the erasers are attached while this is called."""
    size, conditions, guidance_scale = points.size, points.prompts.conditions, family.defaults.guidance_scale
    prompt, empty = conditions["concept"][:1], conditions["empty"] if guidance_scale > 1 else None
    latents, scheduler = noise(family, size, [0]), family.make_scheduler(8, size)
    latents = denoise(scheduler, latents, guided(family, size, prompt, empty, guidance_scale), step=family.step)
    return family.preview(latents, size).cpu()
