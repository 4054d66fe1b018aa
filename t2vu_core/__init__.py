"""T2V Unlearning: erases concepts from text-to-video models.

The names below are the public interface; they are imported when first used, so that importing the package is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from t2vu_core.erasure import Erasure
    from t2vu_core.errors import Cancelled, UserError
    from t2vu_core.evaluation.evaluate import evaluate
    from t2vu_core.image_model import ImageModel, load_image_model
    from t2vu_core.model import T2VModel, load_model
    from t2vu_core.prompts.request import ConceptRequest
    from t2vu_core.recipes import ClosedFormRecipe, FewShotRecipe, VelocityRecipe
    from t2vu_core.training.closed_form.train import erase_closed_form
    from t2vu_core.training.few_shot.train import unlearn_encoder
    from t2vu_core.training.velocity.train import erase_velocity

__version__ = "0.2.0"
__all__ = [
    "Cancelled",
    "ClosedFormRecipe",
    "ConceptRequest",
    "Erasure",
    "FewShotRecipe",
    "ImageModel",
    "T2VModel",
    "UserError",
    "VelocityRecipe",
    "erase_closed_form",
    "erase_velocity",
    "evaluate",
    "load_image_model",
    "load_model",
    "unlearn_encoder",
]

_HOMES = {
    "Cancelled": "errors",
    "ClosedFormRecipe": "recipes",
    "ConceptRequest": "prompts.request",
    "Erasure": "erasure",
    "FewShotRecipe": "recipes",
    "ImageModel": "image_model",
    "T2VModel": "model",
    "UserError": "errors",
    "VelocityRecipe": "recipes",
    "erase_closed_form": "training.closed_form.train",
    "erase_velocity": "training.velocity.train",
    "evaluate": "evaluation.evaluate",
    "load_image_model": "image_model",
    "load_model": "model",
    "unlearn_encoder": "training.few_shot.train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
