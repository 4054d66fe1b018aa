"""The size of a GPU that a training run is fitted to, as an input of a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from comfy_api.v0_0_2 import io

from t2vu_core import UserError, VelocityRecipe
from t2vu_core.errors import first_line
from t2vu_core.families.base import Family
from t2vu_core.memory.explain import shapes_of
from t2vu_core.memory.plan import GB
from t2vu_core.memory.presets import MEMORIES, MemoryPreset, fixed_settings, preset_for

from .declare import advanced

ANY = "any"
SIZES = {f"{size} GB": size * GB for size in MEMORIES}


def memory_input() -> io.Input:
    """What the training must fit in."""
    return advanced(
        io.Combo,
        "memory",
        options=[ANY, *SIZES],
        default=ANY,
        optional=True,
        tooltip="Chooses frames, size, points in a step and what is recomputed so that the memory plan fits a GPU of this "
        "size; num_frames stays if it is not 0. The plan says what was chosen. Planned from shapes, not measured.",
    )


def fitted(
    choice: str, family: Family, recipe: VelocityRecipe, given: Mapping[str, Any], *, low_memory: bool
) -> tuple[VelocityRecipe, str]:
    """The recipe with what fits in the chosen memory, and that in a line. `given` are settings that the user has chosen.

    Raises UserError if nothing fits, if the model cannot be planned, or if `low_memory` is on, which sets the same.
    """
    if choice == ANY:
        return recipe, ""
    if choice not in SIZES:
        raise UserError(f"memory must be one of {', '.join([ANY, *SIZES])}, not {choice!r}.")
    if low_memory:
        raise UserError("memory chooses what low_memory sets: switch low_memory off, or set memory to any.")
    found = _preset(SIZES[choice], family, recipe, given)
    return replace(recipe, **found.settings), f"Chosen for {found.describe()}."


def _preset(limit: int, family: Family, recipe: VelocityRecipe, given: Mapping[str, Any]) -> MemoryPreset:
    reason = "it has neither a folder nor shapes"
    try:
        shaped = shapes_of(family)
        if shaped is not None:
            return preset_for(shaped, limit, recipe, fixed_settings(given))
    except UserError:
        raise
    except Exception as error:  # Whatever an architecture's code raises on shapes is no fault of the user.
        reason = first_line(error)
    raise UserError(f"The memory of this model cannot be planned ({reason}); set memory to any.")
