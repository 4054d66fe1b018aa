"""Checks of numbers that ComfyUI passes on as they are."""

import math

from t2vu_core import UserError


def check_strength(strength: float) -> None:
    """Raise UserError for NaN and infinity, which ComfyUI passes on."""
    if not math.isfinite(strength):
        raise UserError(f"The strength must be a number such as 1.0, not {strength!r}.")
