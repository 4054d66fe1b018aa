"""Whether a model has the weights that an eraser was trained on: by their hash, or by a sketch where formats differ."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from t2vu_core.erasure import Base, Erasure
from t2vu_core.errors import UserError
from t2vu_core.formatting import percent
from t2vu_core.weight_sketch import Comparison, Sketch, compare

log = logging.getLogger(__name__)


def usable_sketch(base: Base) -> Sketch | None:
    """The sketch of a base's weights; None if there is none, or if it is one of other weights than the hash."""
    return base.sketch if base.sketch is not None and base.sketch.hash == base.hash else None


def compare_bases(trained: Base, own: Base, errors: Mapping[str, float] | None = None) -> Comparison | None:
    """How a model's weights differ from those that an eraser was trained on; None if only the hash knows that they do."""
    if trained.hash == own.hash:
        return Comparison("same")
    known, found = usable_sketch(trained), usable_sketch(own)
    # ComfyUI's models of some architectures have other names for the weights.
    if known is None or found is None or known.values.keys().isdisjoint(found.values):
        return None
    return compare(known, found, errors)


def check_base(erasure: Erasure, own: Base, *, allow_other_base: bool) -> None:
    """Raise UserError unless an eraser was trained on these weights, up to rounding; the message names both.

    `allow_other_base` accepts fine-tunes of the base, and weights that only a hash can compare.
    """
    trained = erasure.base
    found = compare_bases(trained, own)
    if found is not None and found.verdict in ("same", "rounded"):
        if found.verdict == "rounded":
            log.info("%s and %s: %s.", own.name, trained.name, found)
        return
    both = (
        f"This erasure was trained on {trained.name} ({trained.hash[:12]}), but the model is {own.name} ({own.hash[:12]}): "
        "their weights differ"
    )
    if found is not None and found.verdict == "another":
        raise UserError(
            f"{both} by {found.off:.0%}, so they are two models. An erasure serves the model that it was trained on, other "
            "number formats of it, and its fine-tunes. Load that base."
        )
    if allow_other_base:
        return
    if found is None:
        raise UserError(f"{both}. Load that base, or allow another base explicitly if this one is a fine-tune of it.")
    raise UserError(
        f"{both} by {percent(found.off)}, so this is a fine-tune, or a file that was rounded more coarsely before. Load that "
        "base, or allow another base explicitly."
    )
