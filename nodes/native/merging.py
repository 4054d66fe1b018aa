"""What merging an exported LoRA into a MODEL's weights does to it, measured on those weights."""

from typing import Any

import torch

from t2vu_core import Erasure, UserError
from t2vu_core.interchange.comfyui_names import to_comfyui
from t2vu_core.interchange.denoisers import by_denoiser
from t2vu_core.interchange.lora_files import lora_pairs
from t2vu_core.interchange.merge_error import MergedInto, MergeError, merge_error

from .apply import denoiser_of
from .architectures import spoken
from .loaded_weights import LoadedWeights


@torch.no_grad()
def merged_into(model: Any, erasure: Erasure) -> MergeError:
    """What is left of the LoRA in the MODEL's fp8 weights, or in its weights rounded to fp8.

    Of a base with two denoisers, the first one's LoRA. Raises UserError for an eraser that is not a LoRA or does not fit.
    """
    first = next(iter(by_denoiser(lora_pairs(erasure)).values()))
    pairs = to_comfyui(erasure.base.family, first)
    weights = LoadedWeights(model, denoiser_of(model.get_model_object("diffusion_model")))
    scales: set[float | None] = set()

    def weight_of(name: str) -> MergedInto:
        key = f"{name.removeprefix('diffusion_model.')}.weight"
        scale = weights.fp8_scale(key)
        scales.add(scale)
        return MergedInto(weights[key], scale or 1.0, weights.is_rescaled(key))

    try:
        found = merge_error(pairs, weight_of, simulated=False)
    except (KeyError, RuntimeError, NotImplementedError) as error:
        raise UserError(
            f"The connected MODEL is not the {spoken(erasure.base.family)} model that the eraser is for ({error})."
        ) from error
    return found if scales != {None} else MergeError(found.change, found.error, simulated=True)
