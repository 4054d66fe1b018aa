"""The warning that a finished run gives if it achieved little, broke down, or had nothing to erase."""

from __future__ import annotations

import logging
from typing import NamedTuple

log = logging.getLogger(__name__)

LITTLE = 0.05
"""An erasure that goes less than this share of the way to its targets has hardly any visible effect."""
BROKEN = 3.0
"""Predictions this many times as far from their targets as without erasers: worse than no training."""
UNKNOWN = 1e-3
"""If the concept changes a prediction by less than this share, the model does not know the concept."""


class Push(NamedTuple):
    """What a training run did to the predictions with the concept."""

    share: float
    """Share of the way to the targets: 0 is nothing, 1 all of it."""
    distance: float = 0.0
    """Distance from the targets in units of the distance before training: 1 is as far as before."""


def warn_outcome(concept: str, push: Push | None, diverged: str | None = None) -> str | None:
    """Log and return the warning for a run with this effect, None if all is well.

    `push` is None if the concept changes no prediction; `diverged` is the message of the error that ended the run early.
    """
    warning = f"{diverged} The result is that of the steps before it." if diverged else _warning(concept, push)
    if warning:
        log.warning(warning)
    return warning


def _warning(concept: str, push: Push | None) -> str | None:
    if push is None:
        return f"The model predicts the same with {concept!r} as without: it does not know it, and there is nothing to erase."
    if push.distance > BROKEN:
        return (
            f"The training broke down: the predictions with {concept!r} are {push.distance:.3g} times as far from their "
            "targets as before it. Lower the learning_rate or eta."
        )
    if push.share < LITTLE:
        return (
            f"The training did next to nothing: {concept!r} went {max(0.0, push.share):.0%} of the way to its target. Train "
            "for more steps, with a higher learning_rate, or with a smaller preserve_weight."
        )
    return None
