"""Velocity erasing: T2VUnlearning (arXiv 2505.17550) on cached trajectories of the frozen model."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Erasure
from t2vu_core.families.base import ClipSize, EraserSite, Family, TextCondition, check_visible
from t2vu_core.model import T2VModel
from t2vu_core.objectives.velocity import negative_guidance_target, preservation_loss, unlearning_loss
from t2vu_core.prompts import PromptPlan, plan_prompts
from t2vu_core.prompts.language_model import write_prompts
from t2vu_core.prompts.pairs import concept_kind
from t2vu_core.prompts.plan import clean_concept, concept_names, prompt_set_for
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.checkpoint import Checkpoint, fingerprint_of
from t2vu_core.training.loop import step_generator, train
from t2vu_core.training.progress import ProgressCallback, TrainProgress
from t2vu_core.training.trajectories import Trajectories, sample_trajectories

log = logging.getLogger(__name__)

METHOD = "velocity (T2VUnlearning, arXiv 2505.17550)"


def erase_velocity(
    model: T2VModel,
    concept: str,
    recipe: VelocityRecipe | None = None,
    *,
    synonyms: Sequence[str] = (),
    concept_prompts: Sequence[str] = (),
    preserve_prompts: Sequence[str] = (),
    language_model: Path | None = None,
    log_folder: Path | None = None,
    on_progress: ProgressCallback | None = None,
) -> Erasure:
    """Train erasers that make the model's denoiser forget a concept.

    The model, with the erasures it carries, is the frozen teacher; it is not changed. `synonyms` are other
    names of the concept, `concept_prompts` sentences that say it, `preserve_prompts` sentences that must
    keep working; what is not given comes from a `language_model` (a transformers folder), and from the
    model's prompt set in as many ways as `recipe.augmentation` says. With a `log_folder` the state is kept
    there, and the same call resumes exactly where it was stopped. `on_progress` may raise StopEarly to keep
    what was trained so far. Raises UserError for a concept that is empty or that the tokenizer cannot read.
    """
    recipe = recipe or VelocityRecipe()
    start = time.monotonic()
    with torch.inference_mode(False), model.active() as family:
        check_visible(family.pipeline.tokenizer, clean_concept(concept))
        plan = plan_prompts(
            concept,
            prompt_set_for(family.folder),
            num_pairs=recipe.concept_trajectories,
            num_preserve=recipe.preserve_trajectories,
            seed=recipe.seed,
            synonyms=synonyms,
            concept_prompts=concept_prompts,
            written_prompts=_ask(language_model, family, concept, synonyms, recipe, on_progress) if language_model else (),
            preserve_prompts=preserve_prompts,
            augmentation=recipe.augmentation,
        )
        checkpoint = None
        if log_folder is not None:
            carried = [[applied.strength, applied.erasure.describe()] for applied in model.erasures]
            mark = fingerprint_of(recipe.describe(), plan.describe(), model.base.hash, carried)
            checkpoint = Checkpoint(log_folder / "state.safetensors", mark)
        conditions = _encode(family, plan, recipe)
        with family.offload_encoder():
            points = _collect(family, conditions, recipe, on_progress)
            sampled = time.monotonic() - start
            erasers, losses = _fit(family, points, recipe, checkpoint, on_progress)
    training = {
        "seconds": round(time.monotonic() - start, 1),
        "trajectory_seconds": round(sampled, 1),
        "trajectory_bytes": points.concept.num_bytes + (points.preserve.num_bytes if points.preserve else 0),
        "steps": len(losses),
        "losses": [float(f"{loss:.4g}") for loss in losses],
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
    }
    return Erasure(
        kind="eraser",
        concepts=(plan.concept,),
        base=model.base,
        tensors=erasers.named_tensors(),
        method=METHOD,
        recipe=recipe.describe(),
        prompts={**plan.describe(), "language_model": language_model.name if language_model else None},
        training=training,
    )


@dataclass(frozen=True)
class _Points:
    """Everything a training step draws from."""

    size: ClipSize
    concept: Trajectories
    preserve: Trajectories | None
    conditions: dict[str, TextCondition]
    """`concept`, `neutral` and `preserve` by prompt index, `empty` once."""


def _ask(
    folder: Path,
    family: Family,
    concept: str,
    synonyms: Sequence[str],
    recipe: VelocityRecipe,
    on_progress: ProgressCallback | None,
) -> list[str]:
    """Half as many prompts as there are trajectories; the other half says the concept in few words."""
    concept = clean_concept(concept)
    names = concept_names(concept, prompt_set_for(family.folder), synonyms)

    def on_step(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(TrainProgress("prompts", done, total))

    return write_prompts(
        folder, names, concept_kind(concept), count=max(1, recipe.concept_trajectories // 2), seed=recipe.seed,
        device=family.device, on_step=on_step,
    )  # fmt: skip


def _encode(family: Family, plan: PromptPlan, recipe: VelocityRecipe) -> dict[str, TextCondition]:
    """Every prompt of the training, so that the text encoder can leave: `concept`, `neutral`, `preserve`, `empty`."""
    pairs = _fill_up(plan.pairs, recipe.concept_trajectories)
    texts = {"empty": [""], "concept": [pair.prompt for pair in pairs], "neutral": [pair.neutral for pair in pairs]}
    if plan.preserve:
        texts["preserve"] = _fill_up(plan.preserve, recipe.preserve_trajectories)
    return {name: family.encode(prompts) for name, prompts in texts.items()}


def _collect(
    family: Family, conditions: dict[str, TextCondition], recipe: VelocityRecipe, on_progress: ProgressCallback | None
) -> _Points:
    size, empty = family.defaults.size, conditions["empty"]
    count, count_kept = len(conditions["concept"]), len(conditions.get("preserve", ()))
    common: dict[str, Any] = {
        "num_steps": recipe.trajectory_steps,
        "guidance_scale": recipe.guidance_scale,
        "on_progress": on_progress,
        "total": count + count_kept,
    }
    first_seed = 1_000_000 * (recipe.seed + 1)
    seeds = range(first_seed, first_seed + count + count_kept)
    concept = sample_trajectories(
        family, conditions["concept"], empty, size, neutral=conditions["neutral"], seeds=seeds[:count], **common
    )
    kept = None
    if count_kept:
        kept = sample_trajectories(family, conditions["preserve"], empty, size, seeds=seeds[count:], done=count, **common)
    return _Points(size, concept, kept, conditions)


def _fill_up(items: Sequence[Any], count: int) -> list[Any]:
    """Repeat the items in turn up to `count`; every repetition gets a seed of its own."""
    return [items[index % len(items)] for index in range(count)]


def _fit(
    family: Family,
    points: _Points,
    recipe: VelocityRecipe,
    checkpoint: Checkpoint | None,
    on_progress: ProgressCallback | None,
) -> tuple[EraserSet, list[float]]:
    sites = family.eraser_sites()
    erasers = EraserSet.create(sites, rank=recipe.rank, seed=recipe.seed).to(family.device)

    def on_step(step: int, loss: float) -> None:
        if on_progress is not None:
            on_progress(TrainProgress("training", step, recipe.steps, loss, lambda: _preview(family, points, erasers, sites)))

    with torch.enable_grad(), erasers.attached(sites):
        losses = train(
            dict(erasers.named_parameters()),
            lambda step: _loss(family, points, recipe, step_generator(recipe.seed, step)),
            steps=recipe.steps,
            learning_rate=recipe.learning_rate,
            checkpoint=checkpoint,
            on_step=on_step,
        )
    return erasers.eval().requires_grad_(False), losses


def _loss(family: Family, points: _Points, recipe: VelocityRecipe, generator: torch.Generator) -> Tensor:
    """One forward pass over points with the concept and points without it."""
    batch = [_concept_part(points, recipe, generator)]
    if recipe.preserve_batch:
        batch += _preserve_parts(points, recipe.preserve_batch, generator)
    latents = torch.cat([part.latents for part in batch]).to(family.device, torch.float32)
    timesteps = torch.cat([part.timesteps for part in batch]).to(family.device)
    condition = TextCondition.cat([part.condition for part in batch])
    target = torch.cat([part.target for part in batch]).to(family.device, torch.float32)
    with torch.autocast(family.device.type, torch.bfloat16):
        student = family.predict(latents, timesteps, condition, points.size)
    count = recipe.concept_batch
    loss = unlearning_loss(student[:count], target[:count])
    if len(student) > count:
        loss = loss + recipe.preserve_weight * preservation_loss(student[count:], target[count:])
    return loss


@dataclass(frozen=True)
class _Part:
    """Some rows of a batch: where the student is asked, with which prompt, and what it should say."""

    latents: Tensor
    timesteps: Tensor
    condition: TextCondition
    target: Tensor


def _concept_part(points: _Points, recipe: VelocityRecipe, generator: torch.Generator) -> _Part:
    concept = points.concept
    rows = torch.randint(0, len(concept), (recipe.concept_batch,), generator=generator)
    target = negative_guidance_target(
        concept.predictions["prompt"][rows].float(), concept.predictions["neutral"][rows].float(), recipe.eta
    )
    condition = points.conditions["concept"][concept.prompt[rows]]
    return _Part(concept.latents[rows], concept.timesteps[rows], condition, target)


def _preserve_parts(points: _Points, count: int, generator: torch.Generator) -> list[_Part]:
    """Half with preserve prompts, a quarter with neutral ones where the concept was, a quarter with none."""

    def draw(trajectories: Trajectories, prediction: str, rows_wanted: int, conditions: TextCondition | None) -> _Part:
        rows = torch.randint(0, len(trajectories), (rows_wanted,), generator=generator)
        condition = points.conditions["empty"].expand(rows_wanted)
        if conditions is not None:
            condition = conditions[trajectories.prompt[rows]]
        target = trajectories.predictions[prediction][rows].float()
        return _Part(trajectories.latents[rows], trajectories.timesteps[rows], condition, target)

    quarter = count // 4
    source = points.preserve or points.concept
    parts = [draw(points.concept, "neutral", quarter, points.conditions["neutral"])]
    parts.append(draw(source, "empty", quarter, None))
    if points.preserve is not None:
        parts.append(draw(points.preserve, "prompt", count - 2 * quarter, points.conditions["preserve"]))
    return parts


@torch.no_grad()
def _preview(family: Family, points: _Points, erasers: EraserSet, sites: list[EraserSite]) -> Tensor:
    """The first concept prompt as the student draws it now; the erasers are attached while training calls this."""
    from t2vu_core.model import guided, noise

    size, prompt = points.size, points.conditions["concept"][:1]
    latents, scheduler = noise(family, size, [0]), family.make_scheduler(8, size)
    for timestep in scheduler.timesteps:
        prediction = guided(family, latents, timestep, prompt, points.conditions["empty"], 3.0, size)
        latents = family.step(scheduler, prediction, timestep, latents)
    return family.decode(latents, size).cpu()
