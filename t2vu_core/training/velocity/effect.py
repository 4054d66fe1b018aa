"""What a finished training did: an erasure that did nothing must not pass for one."""

from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.families.base import EraserSite, Family
from t2vu_core.objectives.velocity import negative_guidance_target
from t2vu_core.training.velocity.points import Points

log = logging.getLogger(__name__)

Effect = dict[str, Any]
LOOKED_AT = 8
"""Points, one pass each with the erasers and without."""
NOTHING = 0.05
"""With less than this share of the way to its targets, an erasure changes little that anyone sees."""
BROKEN = 3.0
"""Predictions so many times as far from their targets as without erasers: these do worse than none."""
UNKNOWN = 1e-3
"""A model whose prediction the concept changes by less than this share does not know it."""


class Push(NamedTuple):
    """What erasers do to the predictions with the concept."""

    share: float
    """Of the way to their targets that they go: 0 nothing, 1 all of it."""
    distance: float
    """From their targets, in units of what it is without erasers: 0 there, 1 as far as before."""


@torch.no_grad()
def pushed(family: Family, points: Points, erasers: EraserSet, sites: list[EraserSite], eta: float) -> Push | None:
    """What erasers do at a few points of the concept's trajectories; None where the concept changes no prediction there."""
    concept = points.concept
    rows = torch.linspace(0, len(concept) - 1, min(LOOKED_AT, len(concept))).long()
    done, missed, way, size = 0.0, 0.0, 0.0, 0.0
    for row in rows.split(1):
        v_concept, v_neutral = (concept.predictions[name][row].float() for name in ("prompt", "neutral"))
        wanted = negative_guidance_target(v_concept, v_neutral, eta) - v_concept
        with erasers.attached(sites):
            moved = _predict(family, points, row)
            with erasers.switched_off():
                moved = moved - _predict(family, points, row)
        done += float((moved * wanted).sum())
        missed += float((moved - wanted).square().sum())
        way += float(wanted.square().sum())
        size += float(v_concept.square().sum())
    if way <= (UNKNOWN * (1 + eta)) ** 2 * size:
        return None
    return Push(done / way, math.sqrt(missed / way))


def effect(
    family: Family,
    points: Points,
    erasers: EraserSet,
    sites: list[EraserSite],
    eta: float,
    concept: str,
    broke: str | None,
) -> Effect:
    """What is told in the erasure's file, and said aloud; `broke` says what ended the training, if anything did."""
    push = pushed(family, points, erasers, sites, eta)
    share, distance = push or (None, 0.0)
    said = warn(concept, share, distance, broke)
    return {"pushed": None if share is None else round(share, 4), "warning": said, "diverged": broke}


def _predict(family: Family, points: Points, row: Tensor) -> Tensor:
    concept, device = points.concept, family.device
    condition = points.prompts.conditions["concept"][concept.prompt[row]]
    with torch.autocast(device.type, torch.bfloat16):
        latents = concept.latents[row].to(device, torch.float32)
        return family.predict(latents, concept.timesteps[row].to(device), condition, points.size).cpu()


def warn(concept: str, share: float | None, distance: float = 0.0, broke: str | None = None) -> str | None:
    """Say aloud, and give back, what there is to say of a training that pushed the concept's predictions this far.

    `share` and `distance` as `Push` has them; `broke` says what ended the training before its time.
    """
    said = f"{broke} This is what the steps before it made." if broke else _warning(concept, share, distance)
    if said:
        log.warning(said)
    return said


def _warning(concept: str, share: float | None, distance: float) -> str | None:
    """None where all is well."""
    if share is None:
        return f"The model draws the same with {concept!r} as without: it does not know it, and there is nothing to erase."
    if distance > BROKEN:
        return (
            f"The training broke down: the predictions with {concept!r} are {distance:.3g} times as far from their targets as "
            "before it. Lower the learning_rate or eta."
        )
    if share < NOTHING:
        return (
            f"The training did next to nothing: {concept!r} went {max(0.0, share):.0%} of the way to its target. Train for "
            "more steps, with a higher learning_rate, or with a smaller preserve_weight."
        )
    return None
