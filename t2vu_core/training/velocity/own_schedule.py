"""The schedule that trajectories follow: that of the model as its users sample it."""

from __future__ import annotations

import logging
import re

from t2vu_core.families.base import Family
from t2vu_core.recipes import VelocityRecipe

log = logging.getLogger(__name__)
_FEW_STEP_NAMES = re.compile(
    r"distill|lightning|causvid|turbo|fastwan|(?<![a-z])(?:lcm|dmd)(?![a-z])|(?<!\d)[1-8][-_ ]?steps?(?![a-z])", re.IGNORECASE
)


def trajectory_steps(family: Family, recipe: VelocityRecipe) -> int:
    """The recipe's steps, or fewer if the model is sampled with fewer: a few-step model is only right at its own timesteps."""
    return min(recipe.trajectory_steps, family.defaults.num_inference_steps)


def trajectory_guidance(family: Family, recipe: VelocityRecipe) -> float:
    """The recipe's guidance scale; the family's own if that is 0, or if the model is guidance-distilled.

    A distilled model takes its guidance as an input, which `predict` gives it (HunyuanVideo), or none at all; with
    classifier-free guidance on top, trajectories would go where the model never samples.
    """
    defaults = family.defaults
    if defaults.embedded_guidance is not None or defaults.guidance_scale <= 1 or recipe.guidance_scale == 0:
        return defaults.guidance_scale
    return recipe.guidance_scale


def schedule_line(family: Family, recipe: VelocityRecipe) -> str:
    """The schedule in a sentence, and how the model itself is sampled."""
    steps, scale, own = trajectory_steps(family, recipe), trajectory_guidance(family, recipe), family.defaults
    usual = f"{own.num_inference_steps} steps at guidance {own.guidance_scale:g}"
    return f"Trajectories: {steps} steps at guidance {scale:g}, for a model that is sampled with {usual}."


def few_step_warning(name: str, family: Family, recipe: VelocityRecipe) -> str | None:
    """What to set if the model's name says that it is sampled in a few steps without guidance, and its settings do not."""
    steps, scale = trajectory_steps(family, recipe), trajectory_guidance(family, recipe)
    if not _FEW_STEP_NAMES.search(name) or scale <= 1:
        return None
    return (
        f"{name!r} looks like the name of a few-step model, but its trajectories have {steps} steps at guidance {scale:g}: set "
        "guidance_scale=1 and its number of steps as trajectory_steps (in ComfyUI: steps and cfg of T2V Model from ComfyUI)."
    )


def warn_few_steps(name: str, family: Family, recipe: VelocityRecipe) -> str | None:
    """Log that warning, if there is one, and return it."""
    warning = few_step_warning(name, family, recipe)
    if warning is not None:
        log.warning(warning)
    return warning
