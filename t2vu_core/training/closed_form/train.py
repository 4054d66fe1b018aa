"""Closed-form erasing: no training steps, one linear solve for every group of projections.

Keys and values of the text are made by linear layers. UCE (arXiv 2308.14761) changes these so that the concept's tokens give
the keys and values of the tokens that stand there in the neutral prompt, while other inputs keep theirs. RECE (arXiv
2407.12383) repeats that for inputs that would bring the concept back. A low-rank refusal direction (arXiv 2506.07891) takes
the directions out in which the two differ, whatever the prompt. All are written for image models whose text is
encoded token by token. Here targets come from the same sentence without the concept, so that what the encoder has spread over
other tokens goes too; and in a joint attention, where one projection serves text and video, video tokens are among the
inputs that must stay.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from t2vu_core.erasers import EraserSet, LoraEraser
from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.families.base import ClipSize, EraserSite, Family, TextCondition
from t2vu_core.families.spelling import check_visible
from t2vu_core.model import T2VModel
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.plan import PromptPlan, plan_request, warn_unused
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import ClosedFormRecipe
from t2vu_core.sampling import denoise, guided, noise
from t2vu_core.threads import free_threads
from t2vu_core.training.checkpoint import TrainingState
from t2vu_core.training.closed_form.align import aligned, real_tokens
from t2vu_core.training.closed_form.inputs import NO_TEXT, Alignment, InputCollector, Inputs, key_value_sites
from t2vu_core.training.closed_form.solve import change_of_inputs, inputs_that_bring_back, without_directions
from t2vu_core.training.outcome import Push, warn_outcome
from t2vu_core.training.progress import ProgressCallback, TrainProgress
from t2vu_core.training.record import training_record
from t2vu_core.training.velocity.encoded_prompts import named_at
from t2vu_core.training.velocity.rollout import rows_a_pass

METHODS: dict[str, str] = {
    "uce": "closed form (UCE, arXiv 2308.14761)",
    "refusal": "closed form (low-rank refusal direction, arXiv 2506.07891)",
}
PROMPT_SETTINGS = "concept_prompts", "preserve_prompts"
RECE_REGULARISATION = 0.1
COMPUTED_IN = (torch.float32, torch.float16, torch.bfloat16)

log = logging.getLogger(__name__)


def erase_closed_form(
    model: T2VModel,
    concept: str | Sequence[str] | ConceptRequest,
    recipe: ClosedFormRecipe | None = None,
    *,
    on_progress: ProgressCallback | None = None,
) -> Erasure:
    """Change keys and values of the text in closed form, so that the denoiser reads a concept as its neutral words.

    The result is an erasure of the LoRA kind. The model, with the erasures it carries, is not changed. An exception from
    `on_progress` stops the run. Raises UserError if a concept is empty, the tokenizer cannot represent it, or no projection
    of the model that can be changed reads the text, or a setting has no effect with the recipe's objective.
    """
    request, recipe, start = ConceptRequest.of(concept), recipe or ClosedFormRecipe(), time.monotonic()
    with free_threads(), torch.inference_mode(False), torch.no_grad(), model.active() as family:
        check_closed_form(family, recipe)
        check_visible(family.text.tokenizer, request.concepts)
        size = PlanSize(recipe.concept_prompts, recipe.preserve_prompts, recipe.seed, recipe.augmentation)
        plan = plan_request(request, prompt_set_for(family.folder), size)
        unused = warn_unused(plan, request, PROMPT_SETTINGS)
        sites = key_value_sites(family)
        collected = _collect(family, plan, recipe, sites, on_progress)
        changes, push = _solved(collected, recipe, on_progress)
        erasers = EraserSet({site.name: _eraser(site, *changes[collected.group_of[site.name]]) for site in sites})
    warning = " ".join(filter(None, (warn_outcome(request.title, push), unused))) or None
    record = training_record(
        start, TrainingState(None), partial=False, pushed=push and round(push.share, 4), warning=warning, diverged=None
    )
    return Erasure(
        "eraser", request.concepts, model.base, erasers.named_tensors(), METHODS[recipe.objective], recipe.describe(),
        prompts=plan.describe(), training=record,
    )  # fmt: skip


def check_closed_form(family: Family, recipe: ClosedFormRecipe) -> None:
    """Raises UserError for a model whose text nothing reads, and for a setting that has no effect with refusal directions."""
    if not key_value_sites(family):
        raise UserError(NO_TEXT)
    if recipe.objective != "refusal":
        return
    for name in ("rounds", "preserve_weight"):
        usual = getattr(ClosedFormRecipe, name)
        if getattr(recipe, name) != usual:
            raise UserError(f"{name} has no effect on refusal directions: leave it at {usual:g}, or use objective uce.")


def _collect(
    family: Family, plan: PromptPlan, recipe: ClosedFormRecipe, sites: Sequence[EraserSite],
    on_progress: ProgressCallback | None,
) -> InputCollector:  # fmt: skip
    """The statistics of all prompts, a batch of rows at a time; the concept's and the neutral prompts share their latents."""
    size = _size(family, recipe)
    concept = _encoded(family, [pair.prompt for pair in plan.pairs])
    neutral = _encoded(family, [pair.neutral for pair in plan.pairs])
    kept = _encoded(family, ["", *plan.preserve])
    positions = [named_at(family, pair.prompt, plan.names) for pair in plan.pairs]
    alignments = [_alignment(concept, neutral, row, positions[row]) for row in range(len(concept))]
    collector = InputCollector(family, sites, size, recipe.concept_weight)
    each = max(1, rows_a_pass(family, size) // 2)
    batches = [(concept[part], neutral[part], alignments[part]) for part in _parts(len(concept), each)]
    others = [kept[part] for part in _parts(len(kept), 2 * each)]
    total = len(batches) + len(others)
    with collector.attached():
        for done, (prompts, without, pairs) in enumerate(batches):
            _report(on_progress, done, total)
            _pass(family, collector, (prompts, without), pairs, size, recipe)
        for done, prompts in enumerate(others, len(batches)):
            _report(on_progress, done, total)
            _pass(family, collector, (prompts,), (), size, recipe)
    return collector


def _pass(
    family: Family, collector: InputCollector, conditions: Sequence[TextCondition], pairs: Sequence[Alignment],
    size: ClipSize, recipe: ClosedFormRecipe,
) -> None:  # fmt: skip
    """Sample the first conditions; all of them are computed at every point of the way.

    Without joint attention the text's inputs are the same at every point, and one is enough.
    """
    count = len(conditions[0])
    rows = TextCondition.cat(list(conditions))
    steps = recipe.trajectory_steps if family.text_keys != "alone" else 1
    scheduler = family.make_scheduler(max(2, steps), size)
    latents = noise(family, size, [recipe.seed + row for row in range(count)])

    def predict(latents: Tensor, timestep: Tensor) -> Tensor:
        collector.expect(pairs, rows)
        with family.mixed_precision():
            repeated = torch.cat([latents] * len(conditions))
            return guided(family, size, rows, None, 1.0)(repeated, timestep)[:count]

    if steps == 1:
        for timestep in _one_a_denoiser(family, scheduler):
            predict(latents, timestep)
    else:
        denoise(scheduler, latents, predict, step=family.step)


def _one_a_denoiser(family: Family, scheduler: object) -> list[Tensor]:
    """The first timestep, and for a model with a second denoiser one of its own."""
    timesteps: Tensor = scheduler.timesteps  # type: ignore[attr-defined]
    return [timesteps[0]] if len(family.denoisers) == 1 else [timesteps[0], timesteps[-1]]


def _solved(
    collected: InputCollector, recipe: ClosedFormRecipe, on_progress: ProgressCallback | None
) -> tuple[dict[str, tuple[Tensor, Tensor]], Push | None]:
    """The change of every group's inputs, and what it does to the concept's tokens."""
    changes, moved, asked = {}, 0.0, 0.0
    for done, (name, group) in enumerate(collected.groups.items()):
        if on_progress is not None:
            on_progress(TrainProgress("training", done, len(collected.groups)))
        left, right = _change(group, recipe)
        inputs, targets = torch.cat(group.concept_ND), torch.cat(group.target_ND)
        # Relative to the group's scale, so that wide groups do not outweigh narrow ones.
        scale = float(inputs.square().sum().clamp_min(1e-12))
        asked += float((targets - inputs).square().sum()) / scale
        moved += float((targets - inputs - inputs @ right.T @ left.T).square().sum()) / scale
        changes[name] = left, right
    push = None if asked < 1e-6 * len(changes) else Push(1 - moved / asked, (moved / asked) ** 0.5)
    return changes, push


def _change(group: Inputs, recipe: ClosedFormRecipe) -> tuple[Tensor, Tensor]:
    """UCE's solution, then RECE's rounds: in each, inputs that would bring the concept back get the same targets.

    With refusal directions these are taken out instead, `1 + eta` times.
    """
    counts = {name: max(1, count) for name, count in group.counts.items()}
    kept = group.kept_DD / counts["kept"] + group.video_DD / counts["video"]
    erased, moves = group.erased_DD / counts["erased"], (1 + recipe.eta) * group.moves_DD / counts["erased"]
    inputs, targets = torch.cat(group.concept_ND), torch.cat(group.target_ND)
    if recipe.objective == "refusal":
        # Against the inputs that must stay alone: among the concept's own, its directions would look like any others.
        left, right = without_directions(group.apart_DD, kept, recipe.ridge, min(recipe.directions, recipe.rank))
        return (1 + recipe.eta) * left, right
    left, right = change_of_inputs(moves, erased + recipe.preserve_weight * kept, recipe.ridge, recipe.rank)
    for _ in range(recipe.rounds):
        found = inputs_that_bring_back(left, right, inputs, RECE_REGULARISATION)
        erased = erased + found.T @ found / len(found)
        moves = moves + (targets - found).T @ found / len(found)
        left, right = change_of_inputs(moves, erased + recipe.preserve_weight * kept, recipe.ridge, recipe.rank)
    return left, right


def _eraser(site: EraserSite, left: Tensor, right: Tensor) -> LoraEraser:
    """The low-rank change of a projection `W`: `W left right`."""
    eraser = LoraEraser(right.shape[1], site.width, right.shape[0])
    # Keys and values share the factor, but a file holds no tensor twice.
    eraser.lora_A.weight.data = right.float().clone()
    eraser.lora_B.weight.data = _projected(site, left.T).T.float().clone(memory_format=torch.contiguous_format)
    return eraser.eval().requires_grad_(False)


def _projected(site: EraserSite, inputs_ND: Tensor) -> Tensor:
    """The inputs after the projection, without its bias. The module computes it, in whatever format its weights are."""
    found: list[Tensor] = []

    def keep(output: Tensor) -> Tensor:
        found.append(output)
        return output

    both = torch.cat([inputs_ND, torch.zeros_like(inputs_ND[:1])])
    scale = both.abs().amax().clamp_min(1e-12)
    weight = getattr(site.module, "weight", None)
    dtype = (
        weight.dtype if isinstance(weight, Tensor) and weight.dtype.is_floating_point and weight.element_size() > 1 else None
    )
    site.edit(site.module((both / scale).to(dtype or torch.bfloat16)), keep)
    output = found[0].float()
    return (output[:-1] - output[-1:]) * scale


def _alignment(concept: TextCondition, neutral: TextCondition, row: int, named: Sequence[int]) -> Alignment:
    tokens, others = (
        real_tokens(text.mask_BS, row, text.embeds_BSD.shape[1]).nonzero().flatten().tolist() for text in (concept, neutral)
    )
    path = aligned(concept.embeds_BSD[row, tokens], neutral.embeds_BSD[row, others])
    return Alignment(tokens, [others[place] for place in path], [token in set(named) for token in tokens])


def _encoded(family: Family, prompts: Sequence[str]) -> TextCondition:
    return TextCondition.cat([family.encode(prompts[part]) for part in _parts(len(prompts), 16)])


def _size(family: Family, recipe: ClosedFormRecipe) -> ClipSize:
    own = family.defaults.size
    size = ClipSize(recipe.num_frames or own.num_frames, recipe.height or own.height, recipe.width or own.width)
    family.check_size(size)
    return size


def _parts(count: int, each: int) -> list[slice]:
    return [slice(first, first + each) for first in range(0, count, each)]


def _report(on_progress: Callable[[TrainProgress], None] | None, done: int, total: int) -> None:
    if on_progress is not None:
        on_progress(TrainProgress("encoding", done, total))
