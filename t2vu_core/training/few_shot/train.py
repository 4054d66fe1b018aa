"""Few-shot encoder unlearning (arXiv 2407.14209, on 2405.07288): a text encoder forgets a concept from a few images.

The gradient goes through a frozen denoiser into the text encoder: that of an image model which shares the
encoder, or the video model's own on clips of one frame.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2vu_core.encoder_identity import base_of, check_shared, describe_encoder, touched_weights
from t2vu_core.erasers import BottleneckEraser, DeltaEraser, EraserSet, LoraEraser, TableEraser
from t2vu_core.erasure import Erasure, hash_tensors
from t2vu_core.families.base import EraserSite
from t2vu_core.families.spelling import check_visible
from t2vu_core.image_model import ImageModel
from t2vu_core.model import T2VModel
from t2vu_core.prompts.plan import warn_unused
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.text_encoders import encoder_facts, encoder_sites, trained_sites
from t2vu_core.training.checkpoint import Checkpoint
from t2vu_core.training.few_shot.material import Material, collect, few_shot_loss, has_said_enough, measure, pushed
from t2vu_core.training.few_shot.plan import EncoderPlan, plan_encoder
from t2vu_core.training.few_shot.shot_models import ImageShots, ShotModel, VideoShots, fitted
from t2vu_core.training.loop import StopEarly, train_while_finite
from t2vu_core.training.progress import ProgressCallback, TrainProgress
from t2vu_core.training.record import training_record
from t2vu_core.training.velocity.effect import warn

METHOD = "few-shot encoder unlearning (arXiv 2407.14209)"
GONE, STOPPED, WHOLE, BROKE = "the concept is gone", "stopped", "after its steps", "a loss that is no number"
"""What ended a training."""
PLACES = "prompts", "preserve_prompts"
"""Settings that say how many prompts a training has room for."""
SHOT_SEEDS, SHOTS_A_SEED = 20_000_000, 10_000
SHOT_BATCH = 4


def unlearn_encoder(
    model: T2VModel,
    concept: str | Sequence[str] | ConceptRequest,
    recipe: FewShotRecipe | None = None,
    *,
    image_model: ImageModel | None = None,
    images: Tensor | None = None,
    log_folder: Path | None = None,
    unfinished_folder: Path | None = None,
    on_progress: ProgressCallback | None = None,
) -> Erasure:
    """Train a change of the model's text encoder that makes it forget a concept, or several at once.

    `image_model` shares the text encoder with the model and gives the gradient; without it the model does, on clips of
    `recipe.num_frames` frames. `images` (B, 3, H, W) in [0, 1] are the shots; without them they are generated. The models,
    with the erasures they carry, are frozen and not changed. `log_folder`, `unfinished_folder` and `on_progress`, which may
    raise StopEarly to keep what was trained, and a loss that stops being a number are as in `erase_velocity`. Raises
    UserError for a concept that is empty or that the tokenizer cannot read, for images that are none, and for an image model
    with another encoder.
    """
    request, recipe, start = ConceptRequest.of(concept), recipe or FewShotRecipe(), time.monotonic()
    with torch.inference_mode(False), _shot_model(model, image_model, recipe) as shot_model:
        plan = plan_encoder(model, request, recipe)
        check_visible(shot_model.pipeline.tokenizer, plan.concepts)
        unused = warn_unused(plan, request, PLACES)
        sites = trained_sites(shot_model.pipeline, recipe.trained, lambda: shot_model.encode([plan.pairs[0].prompt]))
        facts, weights = _trained_encoder(shot_model, sites)
        if image_model is not None:
            check_shared(facts, weights, image_model.name, model.family.pipeline, model.name)
        base = base_of(shot_model.name, weights, facts)
        given = None if images is None else hash_tensors([("images", images)])
        checkpoint = Checkpoint.in_folder(
            log_folder, model, recipe.describe(), plan.describe(), dataclasses.asdict(base), given, unfinished=unfinished_folder
        )
        shots = _shots(shot_model, plan, recipe, images, on_progress)
        shown = None if images is not None else plan.shots_of_pairs(len(shots))
        material = collect(shot_model, shots, plan.pairs, plan.preserve, recipe, shown)
        shot_seconds = time.monotonic() - start
        tensors, losses, measured = _fit(material, sites, recipe, checkpoint, on_progress)
        said = warn(", ".join(plan.concepts), measured.pop("pushed"), broke=measured["diverged"])
        said = " ".join(filter(None, (said, unused))) or None
    seen = {
        "shot_seconds": round(shot_seconds, 1),
        "shots": "given" if images is not None else "generated",
        "through": shot_model.name,
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
    }
    return Erasure(
        "unlearned_encoder", plan.concepts, base, tensors, METHOD, recipe.describe(), plan.describe(),
        training=training_record(start, checkpoint, losses, **seen, **measured, warning=said),
        encoder=describe_encoder(facts, weights),
    )  # fmt: skip


def _trained_encoder(shot_model: ShotModel, sites: Sequence[EraserSite]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts and weights of the text encoders that the sites are in."""
    by_name = {site.name: site for site in sites}
    touched = {name.split(".")[0] for name in by_name}
    facts = {name: fact for name, fact in encoder_facts(shot_model.pipeline).items() if name in touched}
    return facts, touched_weights(by_name, list(by_name))


@contextlib.contextmanager
def _shot_model(model: T2VModel, image_model: ImageModel | None, recipe: FewShotRecipe) -> Iterator[ShotModel]:
    """The denoiser to train through, held, with the erasures that the model carries."""
    with model.active(), contextlib.ExitStack() as stack:
        shot_model: ShotModel = (
            VideoShots(model, recipe.num_frames, recipe.height, recipe.width)
            if image_model is None
            else ImageShots(image_model, recipe.height, recipe.width)
        )
        stack.enter_context(shot_model.held())
        if image_model is not None:
            for applied in model.erasures:
                if applied.erasure.kind == "unlearned_encoder" and applied.strength:
                    stack.enter_context(applied.attached(encoder_sites(image_model.pipeline)))
        yield shot_model


def _shots(
    shot_model: ShotModel,
    plan: EncoderPlan,
    recipe: FewShotRecipe,
    images: Tensor | None,
    on_progress: ProgressCallback | None,
) -> Tensor:
    """(B, F, 3, H, W) in [0, 1]: the user's images, or what the frozen model makes of the concept's prompts."""
    if images is not None:
        shots = fitted(images, shot_model)
        _report(on_progress, [shots], len(shots), len(shots), len(shots))
        return shots
    prompts = [plan.pairs[index % len(plan.pairs)].prompt for index in range(recipe.shots)]
    seeds = [SHOT_SEEDS + SHOTS_A_SEED * recipe.seed + index for index in range(recipe.shots)]
    made: list[Tensor] = []
    steps = 0

    def on_step(step: int, total: int) -> None:
        nonlocal steps
        steps = total * math.ceil(recipe.shots / SHOT_BATCH)
        _report(on_progress, made, recipe.shots, total * len(made) + step, steps)

    for first in range(0, recipe.shots, SHOT_BATCH):
        rows = slice(first, first + SHOT_BATCH)
        made.append(shot_model.sample(prompts[rows], seeds[rows], recipe.shot_steps, on_step))
    _report(on_progress, made, recipe.shots, steps, steps)
    return torch.cat(made)


def _report(on_progress: ProgressCallback | None, made: Sequence[Tensor], count: int, step: int, total: int) -> None:
    """Say how far `count` shots are, in denoising steps of their batches, and show those that are finished."""
    if on_progress is not None:
        note = f"{sum(map(len, made))} of {count} made"
        preview = (lambda: torch.cat(list(made))) if made else None
        on_progress(TrainProgress("shots", step, total, preview=preview, note=note))


def _fit(
    material: Material,
    sites: list[EraserSite],
    recipe: FewShotRecipe,
    checkpoint: Checkpoint | None,
    on_progress: ProgressCallback | None,
) -> tuple[dict[str, Tensor], list[float], dict[str, Any]]:
    """The trained tensors as a file holds them, the losses, and what the encoder does at the end."""
    erasers = _scaled(EraserSet.create(sites, rank=recipe.rank, seed=recipe.seed), sites).to(material.model.device)
    enough = False

    def loss_at(step: int) -> Tensor:
        nonlocal enough
        # Asked before the step and of the state alone, so that a resumed training ends where an uninterrupted one does.
        enough = has_said_enough(material, recipe, step)
        if enough:
            raise StopEarly
        return few_shot_loss(material, recipe, step)

    def on_step(step: int, loss: float) -> None:
        if on_progress is not None:
            on_progress(TrainProgress("training", step, recipe.steps, loss, lambda: _preview(material)))

    with torch.enable_grad(), erasers.attached(sites):
        losses, broke = train_while_finite(
            dict(erasers.named_parameters()),
            loss_at,
            steps=recipe.steps,
            learning_rate=recipe.learning_rate,
            checkpoint=checkpoint,
            on_step=on_step,
        )
        ended = GONE if enough else BROKE if broke else STOPPED if len(losses) < recipe.steps else WHOLE
        measured = {**measure(material), "ended": ended, "pushed": pushed(material, recipe), "diverged": broke}
    if checkpoint and ended in (GONE, WHOLE):
        checkpoint.finish()
    return _finished(erasers), losses, measured


def _scaled(erasers: EraserSet, sites: Sequence[EraserSite]) -> EraserSet:
    """Make a step of the learning rate a share of each layer's own weights, whatever the encoder's scale is.

    Of low-rank factors, `lora_A` starts with entries of size 1, so that its own steps are shares too; the rank's root keeps
    their product as large as a change of the weights themselves.
    """
    modules = {site.name: site.module for site in sites}
    for name, eraser in erasers.items():
        weight = next(modules[name].parameters())
        size = float(weight.detach().float().pow(2).mean().sqrt()) or 1.0
        if isinstance(eraser, DeltaEraser | TableEraser):
            eraser.scale = size
        elif isinstance(eraser, LoraEraser):
            eraser.scale = size / math.sqrt(eraser.lora_A.out_features)
            with torch.no_grad():
                eraser.lora_A.weight.div_(eraser.lora_A.weight.pow(2).mean().sqrt())
    return erasers


def _finished(erasers: EraserSet) -> dict[str, Tensor]:
    """The change itself in bf16: half the size, and what is applied now is what a loaded file applies."""
    scales = {name: eraser.scale for name, eraser in erasers.items() if not isinstance(eraser, BottleneckEraser)}
    finished = {}
    for key, tensor in erasers.named_tensors().items():
        site, module, _ = key.rsplit(".", 2)
        scale = 1.0 if module == "lora_A" else scales.get(site, 1.0)
        finished[key] = (tensor * scale).to("cpu", torch.bfloat16)
    return finished


@torch.no_grad()
def _preview(material: Material) -> Tensor:
    """The first concept prompt as it is drawn now; the trained change is attached while training calls this."""
    return material.model.sample([material.pairs[0].prompt], [0], 8)
