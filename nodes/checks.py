"""What can be known before a run: ComfyUI asks for it when a graph is queued, and shows the sentence on the node.

An input that `validate_inputs` names loses ComfyUI's own checks of its range, so they are repeated here.
"""

from collections.abc import Callable
from typing import Any

from t2vu_core import ConceptRequest, UserError
from t2vu_core.model import MAX_CLIP_PIXELS

from .declare import lines

MOST_PIXELS, MOST_FRAMES = 4096, 1024


def problem(check: Callable[..., Any], *values: Any) -> bool | str:
    """What `validate_inputs` returns: True, or the sentence of the UserError that the check raises.

    A value that comes over a wire is not known yet, and None: then nothing is checked.
    """
    if any(value is None for value in values):
        return True
    try:
        check(*values)
    except UserError as error:
        return str(error)
    return True


def check_concept(concept: str) -> None:
    """Raise UserError if there is no concept, or none that can be read."""
    ConceptRequest(lines(concept))


def check_prompts(prompts: str) -> None:
    """Raise UserError if there is no prompt."""
    if not lines(prompts):
        raise UserError("There is no prompt: enter at least one, one per line.")


def check_size(width: int, height: int, frames: int) -> None:
    """Raise UserError for a size that no architecture can make; 0 is the model's own."""
    for name, value in (("width", width), ("height", height)):
        if not 0 <= value <= MOST_PIXELS:
            raise UserError(f"{name} must be from 0 to {MOST_PIXELS}, not {value}.")
        if value % 2:
            raise UserError(f"{name} must be even, not {value}: try {value + 1}.")
    if not 0 <= frames <= MOST_FRAMES:
        raise UserError(f"frames must be from 0 to {MOST_FRAMES}, not {frames}.")
    if width * height * frames > MAX_CLIP_PIXELS:
        raise UserError(f"{width} x {height} x {frames} frames is too large; ask for less.")
