"""What a finished training did: an erasure that did nothing must not pass for one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.families.base import EraserSite, Family
from t2vu_core.objectives.velocity import negative_guidance_target
from t2vu_core.training.points import Points

log = logging.getLogger(__name__)

Effect = dict[str, Any]
LOOKED_AT = 8
"""Points, one pass each with the erasers and without."""
NOTHING = 0.05
"""With less than this share of the way to its targets, an erasure changes little that anyone sees."""
ROSE = 3.0
"""A loss whose last tenth is so many times higher than its first: the erasers do worse than none."""
UNKNOWN = 1e-3
"""A model whose prediction the concept changes by less than this share does not know it."""


@torch.no_grad()
def pushed(family: Family, points: Points, erasers: EraserSet, sites: list[EraserSite], eta: float) -> float | None:
    """How far erasers push the predictions with the concept towards their targets: 0 not at all, 1 all the way.

    Seen at a few points of the concept's trajectories; None where the concept changes nothing in the frozen model's.
    """
    concept = points.concept
    rows = torch.linspace(0, len(concept) - 1, min(LOOKED_AT, len(concept))).long()
    done, way, size = 0.0, 0.0, 0.0
    for row in rows.split(1):
        v_concept, v_neutral = (concept.predictions[name][row].float() for name in ("prompt", "neutral"))
        wanted = negative_guidance_target(v_concept, v_neutral, eta) - v_concept
        with erasers.attached(sites):
            moved = _predict(family, points, row)
            with erasers.switched_off():
                moved = moved - _predict(family, points, row)
        done += float((moved * wanted).sum())
        way += float(wanted.square().sum())
        size += float(v_concept.square().sum())
    return None if way <= (UNKNOWN * (1 + eta)) ** 2 * size else done / way


def effect(
    family: Family,
    points: Points,
    erasers: EraserSet,
    sites: list[EraserSite],
    eta: float,
    concept: str,
    losses: Sequence[float],
    broke: str | None,
) -> Effect:
    """What is told in the erasure's file, and said aloud; `broke` says what ended the training, if anything did."""
    share = pushed(family, points, erasers, sites, eta)
    said = warn(concept, share, losses, broke)
    return {"pushed": None if share is None else round(share, 4), "warning": said, "diverged": broke}


def _predict(family: Family, points: Points, row: Tensor) -> Tensor:
    concept, device = points.concept, family.device
    condition = points.prompts.conditions["concept"][concept.prompt[row]]
    with torch.autocast(device.type, torch.bfloat16):
        latents = concept.latents[row].to(device, torch.float32)
        return family.predict(latents, concept.timesteps[row].to(device), condition, points.size).cpu()


def warn(concept: str, share: float | None, losses: Sequence[float] = (), broke: str | None = None) -> str | None:
    """Say aloud, and give back, what there is to say of a training that pushed the concept's predictions this far.

    `losses`, of an objective that is never below zero, show whether it broke down; `broke` says what ended it before its time.
    """
    said = f"{broke} This is what the steps before it made." if broke else _warning(concept, share, losses)
    if said:
        log.warning(said)
    return said


def _broken_down(losses: Sequence[float]) -> str | None:
    tenth = len(losses) // 10
    if not tenth:
        return None
    began, ended = (sum(part) / tenth for part in (losses[:tenth], losses[-tenth:]))
    if ended < ROSE * began:
        return None
    return f"The training broke down: its loss rose from {began:.3g} to {ended:.3g}. Lower the learning_rate or eta."


def _warning(concept: str, share: float | None, losses: Sequence[float]) -> str | None:
    """None where all is well."""
    if share is None:
        return f"The model draws the same with {concept!r} as without: it does not know it, and there is nothing to erase."
    if broken := _broken_down(losses):
        return broken
    if share < NOTHING:
        return (
            f"The training did next to nothing: {concept!r} went {max(0.0, share):.0%} of the way to its target. Train for "
            "more steps, with a higher learning_rate, or with a smaller preserve_weight."
        )
    return None
