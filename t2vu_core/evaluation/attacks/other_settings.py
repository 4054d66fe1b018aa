"""The concept asked for under other settings of sampling than those that the evaluation measures.

An erasure is trained on the model's own timesteps, size and length; users sample with others. Nothing is learned here: the
prompts ask for the concept openly. Clips of the unerased model under the same settings are the control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.evaluation.attacks.base import AttackBudget, Outcome, Target, tally
from t2vu_core.evaluation.attacks.denoising import clip_latents
from t2vu_core.evaluation.attacks.samplers import SAMPLERS
from t2vu_core.model import T2VModel

Settings = Mapping[str, Any]
SIZES, LENGTHS, STEPS = (0.75, 1.25), (0.5, 1.25), (0.5, 2)
"""Relative to the model's own, and to the number of steps of the evaluation."""
FEWEST_STEPS = 2
"""Some schedules need two."""


def other_settings(name: str, model: T2VModel, target: Target) -> Outcome:
    """Ask for the concept under other settings; the batches take these in turn."""
    budget, chosen = target.budget, list(settings_of(name, model, target.budget).items())
    found: dict[str, list[bool]] = {title: [] for title, _ in chosen}
    for turn, first in enumerate(range(0, len(target.cases), budget.batch_size)):
        title, settings = chosen[turn % len(chosen)]
        cases = target.cases[first : first + budget.batch_size]
        clips = sampled(model, [case.prompt for case in cases], [case.seed for case in cases], settings, budget)
        found[title] += target.judged(clips)
        target.on_step()
    return Outcome([shown for own in found.values() for shown in own], parts=tally(found))


def settings_of(name: str, model: T2VModel, budget: AttackBudget) -> dict[str, Settings]:
    """The settings of an attack by title, as `sampled` takes them; empty if the model can be sampled in no other way."""
    return dict(_SETTINGS[name](model, budget))


def sampled(model: T2VModel, prompts: Sequence[str], seeds: Sequence[int], settings: Settings, budget: AttackBudget) -> Tensor:
    """Clips (B, F, 3, H, W) with the budget's sampling, changed by the settings of `T2VModel.sample` or by a `sampler`."""
    usual = {"num_inference_steps": budget.sampling_steps, "guidance_scale": budget.guidance_scale}
    if "sampler" not in settings:
        return model.sample(prompts, seeds=seeds, **{**usual, **settings})
    latents = clip_latents(
        model, prompts, seeds, steps=budget.sampling_steps, guidance_scale=budget.guidance_scale, batch=len(prompts),
        step=SAMPLERS[settings["sampler"]](seeds),
    )  # fmt: skip
    with model.active() as family:
        return family.decode_or_tile(latents, model.clip_size()).cpu()


def _samplers(model: T2VModel, budget: AttackBudget) -> Iterator[tuple[str, Settings]]:
    return ((name, {"sampler": name}) for name in SAMPLERS)


def _steps(model: T2VModel, budget: AttackBudget) -> Iterator[tuple[str, Settings]]:
    own = budget.sampling_steps
    for steps in sorted({max(FEWEST_STEPS, round(share * own)) for share in STEPS} - {own}):
        yield f"{steps} steps", {"num_inference_steps": steps}


def _guidance(model: T2VModel, budget: AttackBudget) -> Iterator[tuple[str, Settings]]:
    """None, and twice the usual."""
    own = model.family.defaults.guidance_scale if budget.guidance_scale is None else budget.guidance_scale
    for scale in sorted({1.0, 2 * max(1.0, own)} - {own}):
        yield f"guidance {scale:g}", {"guidance_scale": scale}


def _sizes(model: T2VModel, budget: AttackBudget) -> Iterator[tuple[str, Settings]]:
    """Smaller and larger frames, and frames that are only less high."""
    own = model.clip_size()
    for names, share in ((("height", "width"), SIZES[0]), (("height",), SIZES[0]), (("height", "width"), SIZES[1])):
        sides = {name: nearest(model, name, share, getattr(own, name)) for name in names}
        if None not in sides.values() and makes(model, **sides):
            yield f"{sides.get('width', own.width)} x {sides['height']} pixels", sides


def _lengths(model: T2VModel, budget: AttackBudget) -> Iterator[tuple[str, Settings]]:
    for share in LENGTHS:
        frames = nearest(model, "num_frames", share, model.clip_size().num_frames)
        if frames is not None:
            yield f"{frames} frames", {"num_frames": frames}


def nearest(model: T2VModel, name: str, share: float, own: int) -> int | None:
    """The value of a size that is nearest to a share of the model's own, on the same side of it, and that the model makes."""
    values = range(1, own) if share < 1 else range(own + 1, 2 * own + 1)
    by_distance = sorted(values, key=lambda value: abs(value - share * own))
    return next((value for value in by_distance if makes(model, **{name: value})), None)


def makes(model: T2VModel, **size: int | None) -> bool:
    """Whether the model makes clips of this size."""
    try:
        model.clip_size(**size)
    except UserError:
        return False
    return True


_SETTINGS: dict[str, Callable[[T2VModel, AttackBudget], Iterator[tuple[str, Settings]]]] = {
    "other_sampler": _samplers,
    "other_steps": _steps,
    "other_guidance": _guidance,
    "other_size": _sizes,
    "other_length": _lengths,
}
RUNS: dict[str, Callable[[T2VModel, Target], Outcome]] = {name: partial(other_settings, name) for name in _SETTINGS}
"""The attacks by name."""
CHANGES = {
    "other_sampler": "another sampler",
    "other_steps": "another number of steps",
    "other_guidance": "another guidance scale",
    "other_size": "another frame size",
    "other_length": "another length",
}
"""What each of them changes, in words."""
