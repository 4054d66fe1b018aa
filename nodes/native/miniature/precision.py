"""The precisions that a miniature's denoiser is stored in, as the files that people download have them."""

from collections.abc import Mapping
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch
from torch import Tensor, nn

FP8 = torch.float8_e4m3fn
FP8_LARGEST = 448.0
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp8": FP8, "fp8_scaled": None}
"""Name -> dtype of all weights; None where the linear layers have one of their own."""


def text_dtype(precision: str) -> torch.dtype:
    """The text encoder's: float32 for a denoiser in float32, else bfloat16."""
    return torch.float32 if precision == "fp32" else torch.bfloat16


def stored(weights: Mapping[str, Tensor], precision: str) -> dict[str, Tensor]:
    """The denoiser's weights as a file of that precision holds them.

    fp8_scaled is the format of ComfyUI's repackaged models: linear layers in fp8 with a scale each, the rest as it is.
    """
    dtype = PRECISIONS[precision]
    if dtype is not None:
        return {name: tensor.to(dtype) for name, tensor in weights.items()}
    tensors = {}
    for name, tensor in weights.items():
        if tensor.ndim == 2 and name.endswith(".weight"):
            scale = tensor.abs().max().clamp_min(1e-12) / FP8_LARGEST
            tensors[name] = (tensor / scale).to(FP8)
            tensors[name.removesuffix("weight") + "scale_weight"] = scale
        else:
            tensors[name] = tensor
    # Two elements: multiply in the precision of the activations.
    tensors["scaled_fp8"] = torch.zeros(2, dtype=FP8)
    return tensors


def configure(config: Any, weights: Mapping[str, Tensor], precision: str) -> dict[str, Tensor]:
    """Set a model's config up for that precision, as ComfyUI's loader does, and return the weights that it takes."""
    tensors, supported = stored(weights, precision), list(config.supported_inference_dtypes)
    device, dtype = comfy.model_management.get_torch_device(), PRECISIONS[precision]
    if dtype is None:
        tensors = _quantised(config, tensors)
        dtype = comfy.model_management.unet_dtype(supported_dtypes=supported)
        compute = comfy.model_management.unet_manual_cast(None, device, supported)
    else:
        compute = comfy.model_management.unet_manual_cast(dtype, device, supported)
    config.set_inference_dtype(dtype, compute)
    return tensors


def _quantised(config: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if hasattr(comfy.utils, "convert_old_quants"):
        tensors, _ = comfy.utils.convert_old_quants(tensors)
        config.quant_config = comfy.utils.detect_layer_quantization(tensors, "")
        return tensors
    config.scaled_fp8 = tensors.pop("scaled_fp8").dtype
    return tensors


def patcher_of(base: Any, tensors: dict[str, Tensor]) -> Any:
    """Load the weights into ComfyUI's model and wrap it as a MODEL. Raises ValueError if they do not fit."""
    load_exactly(base.diffusion_model, tensors)
    device, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    return comfy.model_patcher.ModelPatcher(base.to(offload).eval(), load_device=device, offload_device=offload)


def load_exactly(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load weights; ValueError if one is missing or left over."""
    missing, unexpected = module.load_state_dict(dict(tensors), strict=False)
    if missing or unexpected:
        raise ValueError(f"The weights do not fit {type(module).__name__}: missing {missing}, unexpected {unexpected}.")
