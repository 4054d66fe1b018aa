"""`t2vu erase --method closed_form`: an eraser without training steps."""

from __future__ import annotations

import argparse
from typing import Any

from t2vu_core.commands.neutral_look import check_only, checked_order, noted
from t2vu_core.commands.options import open_model
from t2vu_core.commands.progress_bars import training_bar
from t2vu_core.commands.training import TrainingOrder, settings_of
from t2vu_core.errors import UserError
from t2vu_core.recipes import ClosedFormRecipe
from t2vu_core.training.closed_form.train import erase_closed_form

OF_VELOCITY = ("low_memory", "memory", "log", "resume", "language_model")
"""Options of `t2vu erase` that only training steps have a use for."""


def run_closed_form(options: argparse.Namespace) -> dict[str, Any]:
    """Compute and write the erasure. Raises UserError for an option that has no effect here."""
    for name in OF_VELOCITY:
        if getattr(options, name) not in (None, False) and not (options.check_only and name == "log"):
            raise UserError(f"--{name.replace('_', '-')} has no effect with --method closed_form: leave it out.")
    recipe = ClosedFormRecipe.preset(options.preset, **settings_of(options))
    if options.check_only:
        return check_only(open_model(options), recipe, options)
    order, model = TrainingOrder.of(options), open_model(options)
    order, check = checked_order(model, order, recipe, options)
    with training_bar() as on_progress:
        erasure = noted(erase_closed_form(model, order.request, recipe, on_progress=on_progress), check)
    return {
        "out": str(order.save(erasure)),
        "method": "closed_form",
        "concept": ", ".join(erasure.concepts),
        "model": model.name,
        "seconds": erasure.training["seconds"],
        "pushed": erasure.training["pushed"],
        "warning": erasure.training["warning"],
        "scores": None,
        "neutral_check": check and check.describe(),
    }


def show_closed_form(result: dict[str, Any]) -> str:
    """What was written."""
    lines = [
        f"{result['out']}: an eraser of {result['concept']!r} in closed form, in {result['seconds']} s.",
        "It is not measured yet: run `t2vu evaluate` to see what was erased and what was kept.",
    ]
    return "\n".join([*lines, *([f"Warning: {result['warning']}"] if result["warning"] else [])])
