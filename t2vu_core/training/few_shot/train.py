"""Few-shot encoder unlearning (arXiv 2407.14209, on 2405.07288): a text encoder forgets a concept from a few images.

The gradient goes through a frozen denoiser into the text encoder: the denoiser of an image model that shares the encoder,
or the video model's own on clips of one frame.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2vu_core.encoder_identity import TouchedWeights, base_of, check_shared, describe_encoder
from t2vu_core.erasers import BottleneckEraser, DeltaEraser, EraserSet, LoraEraser, TableEraser
from t2vu_core.erasure import Erasure, hash_tensors
from t2vu_core.errors import UserError
from t2vu_core.families.eraser_site import EraserSite
from t2vu_core.families.spelling import check_visible
from t2vu_core.image_model import ImageModel
from t2vu_core.model import T2VModel
from t2vu_core.prompts.plan import warn_unused
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.text_encoders import encoder_facts, encoder_sites, trained_sites
from t2vu_core.threads import free_threads
from t2vu_core.training.checkpoint import Checkpoint, TrainingState
from t2vu_core.training.few_shot.material import Material, collect
from t2vu_core.training.few_shot.measure import measure, measure_baseline, measure_push, should_stop
from t2vu_core.training.few_shot.plan import EncoderPlan, plan_encoder
from t2vu_core.training.few_shot.shot_models import AnyImageModel, ImageShots, ShotModel, VideoShots
from t2vu_core.training.few_shot.shots import generated_shots, given_shots
from t2vu_core.training.few_shot.step import EncoderStep
from t2vu_core.training.loop import StopEarly, train_while_finite
from t2vu_core.training.outcome import Push, warn_outcome
from t2vu_core.training.progress import ProgressCallback, TrainProgress
from t2vu_core.training.record import training_record
from t2vu_core.training.run import Run, check_precision

METHOD = "few-shot encoder unlearning (arXiv 2407.14209)"
GONE, STOPPED, WHOLE, BROKE = "the concept is gone", "stopped", "after its steps", "a loss that is not a number"
"""What ended a run; stored in the erasure file."""
PROMPT_SETTINGS = "prompts", "preserve_prompts"
"""Settings that limit the number of prompts."""

FewShotRun = Run[FewShotRecipe]


def unlearn_encoder(
    model: T2VModel | None,
    concept: str | Sequence[str] | ConceptRequest,
    recipe: FewShotRecipe | None = None,
    *,
    image_model: AnyImageModel | None = None,
    images: Tensor | None = None,
    log_folder: Path | None = None,
    unfinished_folder: Path | None = None,
    on_progress: ProgressCallback | None = None,
) -> Erasure:
    """Train a change of the model's text encoder that makes it forget a concept, or several at once.

    The gradient comes from `image_model`, which shares the text encoder with the model; without it from the model itself,
    on clips of `recipe.num_frames` frames. Without a model, the image model's own text encoder is trained, for any model
    that shares it. `images` (B, 3, H, W) in [0, 1] are the shots; without them shots are generated.
    The models, with the erasures they carry, are frozen and not changed. `log_folder`, `unfinished_folder`, `on_progress`
    and a loss that is not finite are as in `erase_velocity`. Raises UserError if a concept is empty or the tokenizer cannot
    represent it, if `images` are not images, if the image model has another encoder, or if there is neither model.
    """
    source = image_model if model is None else model
    if source is None:
        raise UserError("Give a model, or an image model whose text encoder is to be trained.")
    request, recipe, start = ConceptRequest.of(concept), recipe or FewShotRecipe(), time.monotonic()
    check_precision(None if model is None else model.family, image_model if isinstance(image_model, ImageModel) else None)
    with free_threads(), torch.inference_mode(False), _shot_model(model, image_model, recipe) as shot_model:
        plan = plan_encoder(source, request, recipe)
        check_visible(shot_model.text.tokenizer, plan.concepts)
        unused = warn_unused(plan, request, PROMPT_SETTINGS)
        sites = trained_sites(shot_model.text, recipe.trained, lambda: shot_model.encode([plan.pairs[0].prompt]))
        facts, weights = _trained_encoder(shot_model, sites)
        if image_model is not None and model is not None:
            check_shared(facts, weights, image_model.name, model.family.text, model.name)
        base = base_of(shot_model.name, weights, facts)
        given = None if images is None else hash_tensors([("images", images)])
        more = image_model.describe() if image_model is not None else {}
        parts = recipe.describe(), plan.describe(), base.describe(), given, *([more] if more else [])
        checkpoint = Checkpoint.in_folder(log_folder, model, *parts, unfinished=unfinished_folder, about=request.title)
        state = TrainingState.begun(checkpoint, on_progress)
        run = Run(None if model is None else model.family, recipe, state, on_progress=on_progress)
        with state.held():
            material = _material(run, shot_model, plan, images)
            shot_seconds = time.monotonic() - start
            tensors, measured, push = _train(run, material, sites, weights)
        warning = warn_outcome(request.title, push, measured["diverged"])
    record = training_record(
        start, state, shot_seconds=round(shot_seconds, 1), shots="generated" if images is None else "given",
        through=shot_model.name, parameters=sum(tensor.numel() for tensor in tensors.values()), **measured,
        warning=" ".join(filter(None, (warning, unused))) or None,
    )  # fmt: skip
    return Erasure(
        "unlearned_encoder", plan.concepts, base, tensors, METHOD, recipe.describe(), plan.describe(), training=record,
        encoder=describe_encoder(facts, weights),
    )  # fmt: skip


def _material(run: FewShotRun, shot_model: ShotModel, plan: EncoderPlan, images: Tensor | None) -> Material:
    """The encoded prompts and shots; every given image is taken to show every concept."""
    if images is not None:
        return collect(
            shot_model, given_shots(images, shot_model, run.on_progress), plan, run.recipe, on_progress=run.on_progress
        )
    shots = generated_shots(shot_model, plan, run.recipe, run.on_progress)
    return collect(shot_model, shots, plan, run.recipe, plan.shots_of_pairs(len(shots)), run.on_progress)


def _trained_encoder(shot_model: ShotModel, sites: Sequence[EraserSite]) -> tuple[dict[str, Any], TouchedWeights]:
    """Facts and weights of the text encoders that contain the sites."""
    names = [site.name for site in sites]
    touched = {name.split(".")[0] for name in names}
    facts = {name: fact for name, fact in encoder_facts(shot_model.text).items() if name in touched}
    return facts, TouchedWeights(shot_model.text, names)


@contextlib.contextmanager
def _shot_model(model: T2VModel | None, image_model: AnyImageModel | None, recipe: FewShotRecipe) -> Iterator[ShotModel]:
    """The denoiser that gives the gradient, locked, with the erasures that the model carries."""
    with contextlib.ExitStack() as stack:
        if model is not None:
            stack.enter_context(model.active())
        shot_model = _shots_of(model, image_model, recipe)
        stack.enter_context(shot_model.held())
        if image_model is not None:
            for applied in () if model is None else model.erasures:
                if applied.erasure.kind == "unlearned_encoder" and applied.strength:
                    stack.enter_context(applied.attached(encoder_sites(image_model.text)))
        yield shot_model


def _shots_of(model: T2VModel | None, image_model: AnyImageModel | None, recipe: FewShotRecipe) -> ShotModel:
    if image_model is not None:
        return ImageShots(image_model, recipe.height, recipe.width)
    assert model is not None
    return VideoShots(model, recipe.num_frames, recipe.height, recipe.width)


def _train(
    run: FewShotRun, material: Material, sites: list[EraserSite], weights: TouchedWeights
) -> tuple[dict[str, Tensor], dict[str, Any], Push | None]:
    """The trained tensors as a file holds them, what was measured at the end, and how far the predictions moved."""
    recipe, baseline = run.recipe, measure_baseline(material, run.recipe)
    erasers = _scaled(EraserSet.create(sites, rank=recipe.rank, seed=recipe.seed), weights).to(material.model.device)
    step, erased = EncoderStep(material, baseline, recipe), False

    def loss_at(number: int) -> Tensor:
        nonlocal erased
        # Checked before the step and from the state alone, so that a resumed run ends where an uninterrupted one does.
        erased = should_stop(material, baseline, recipe, number)
        if erased:
            raise StopEarly
        return step.loss(number)

    def on_step(done: int, loss: float) -> None:
        run.report(TrainProgress("training", done, recipe.steps, loss, lambda: _preview(material)))

    with torch.enable_grad(), erasers.attached(sites):
        losses, diverged = train_while_finite(
            dict(erasers.named_parameters()), loss_at, run.schedule, state=run.state, on_step=on_step
        )
        measured, push = measure(material, baseline), measure_push(material, baseline, recipe)
    ended = GONE if erased else BROKE if diverged else STOPPED if len(losses) < recipe.steps else WHOLE
    if ended in (GONE, WHOLE):
        run.finish()
    return _finished(erasers), {**measured, "ended": ended, "partial": ended in (STOPPED, BROKE), "diverged": diverged}, push


def _scaled(erasers: EraserSet, weights: TouchedWeights) -> EraserSet:
    """Scale the change of each layer to the size of its weights, so that one learning rate suits every encoder.

    `lora_A` starts with entries of size 1, so that its steps are relative too; the square root of the rank keeps the
    product of the factors as large as a change of the weights themselves.
    """
    for name, eraser in erasers.items():
        size = float(weights[f"{name}.weight"].values.float().pow(2).mean().sqrt()) or 1.0
        if isinstance(eraser, DeltaEraser | TableEraser):
            eraser.scale = size
        elif isinstance(eraser, LoraEraser):
            eraser.scale = size / math.sqrt(eraser.lora_A.out_features)
            with torch.no_grad():
                eraser.lora_A.weight.div_(eraser.lora_A.weight.pow(2).mean().sqrt())
    return erasers


def _finished(erasers: EraserSet) -> dict[str, Tensor]:
    """The scaled change in bf16, as a file holds it: applying it now is the same as applying the loaded file."""
    scales = {name: eraser.scale for name, eraser in erasers.items() if not isinstance(eraser, BottleneckEraser)}
    finished = {}
    for key, tensor in erasers.named_tensors().items():
        site, module, _ = key.rsplit(".", 2)
        scale = 1.0 if module == "lora_A" else scales.get(site, 1.0)
        finished[key] = (tensor * scale).to("cpu", torch.bfloat16)
    return finished


@torch.no_grad()
def _preview(material: Material) -> Tensor:
    """The first concept prompt as it is drawn now; the trained change is attached while this is called."""
    return material.model.sample([material.pairs[0].prompt], [0], 8)
