"""Loading a denoiser from a single file with diffusers' `from_single_file`, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from diffusers.utils import is_gguf_available
from safetensors import safe_open
from torch import nn

from t2vu_core.errors import UserError, reading
from t2vu_core.model_limits import check_model_folder
from t2vu_core.model_source import INDEX, ModelSource
from t2vu_core.quantised_weights import is_quantised, quantised_layer, unpacked
from t2vu_core.quiet import quiet_libraries

SCALES = ("scale_weight", "weight_scale", "scaled_fp8", "comfy_quant")
"""Ends of names of ComfyUI's quantised files. diffusers drops these tensors, and then the weights are wrong."""
FP8 = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}


def load_denoisers(source: ModelSource, *, dtype: torch.dtype, keyword: str) -> dict[str, nn.Module]:
    """The denoisers of the source's single files by component name; `keyword` is the name of diffusers' dtype argument.

    Raises UserError for a class without `from_single_file`, and for files that do not hold such a denoiser.
    """
    check_model_folder(source.folder, f"The model folder {source.folder} cannot be loaded")
    return {name: _load(source.folder, name, file, {keyword: dtype}, dtype) for name, file in source.files.items()}


def pipeline_class(folder: Path) -> Any:
    """The class of a folder's pipeline."""
    return getattr(diffusers, str(_index(folder)["_class_name"]))


def fp8_format(source: ModelSource) -> torch.dtype | None:
    """The 8-bit floating-point format in which a safetensors file stores weights, if it does."""
    for file in source.files.values():
        if file.suffix.lower() == ".safetensors":
            with safe_open(file, "pt") as opened:
                formats = {opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118
            return next((own for name, own in FP8.items() if name in formats), None)
    return None


def _load(folder: Path, name: str, file: Path, precision: dict[str, Any], dtype: torch.dtype) -> nn.Module:
    failure = f"{file} cannot be loaded"
    kind = _class(folder, name)
    options = _gguf_options(file, dtype) if file.suffix.lower() == ".gguf" else {}
    if not options:
        _check_scales(file, failure)
    if not (folder / name / "config.json").is_file():
        raise UserError(f"{failure}: {folder} lacks {name}/config.json, which says how large the model is. Download it.")
    wanted = f". It must hold the weights of a {kind.__name__} of the size in {folder / name}."
    with reading(failure, wanted), quiet_libraries():
        try:
            denoiser: nn.Module = kind.from_single_file(
                str(file), config=str(folder), subfolder=name, local_files_only=True, **precision, **options
            )
        except NotImplementedError as error:
            # Weights that are not in the file have no values to put on a device.
            raise ValueError("it lacks weights") from error
    lacking = next((key for key, value in denoiser.state_dict().items() if value.is_meta), None)
    if lacking is not None:
        raise UserError(f"{failure}: it lacks weights ({lacking}). It must hold a whole {kind.__name__}.")
    _unpack_tables(denoiser, dtype)
    return _with_precise_parts(denoiser)


def _class(folder: Path, name: str) -> Any:
    class_name = str(_index(folder)[name][-1])
    if class_name not in SINGLE_FILE_LOADABLE_CLASSES:
        raise UserError(f"diffusers cannot load a {class_name} from a single file: give the diffusers folder as the model.")
    return getattr(diffusers, class_name)


def _index(folder: Path) -> dict[str, Any]:
    with reading(f"{folder} is not a diffusers model"):
        index: dict[str, Any] = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    return index


def _gguf_options(file: Path, dtype: torch.dtype) -> dict[str, Any]:
    if not is_gguf_available():
        raise UserError(f"{file} needs the package gguf: pip install gguf.")
    return {"quantization_config": diffusers.GGUFQuantizationConfig(compute_dtype=dtype)}


def _check_scales(file: Path, failure: str) -> None:
    with reading(failure), safe_open(file, "pt") as opened:
        scaled = next((key for key in opened.keys() if key.endswith(SCALES)), None)  # noqa: SIM118
    if scaled is not None:
        raise UserError(
            f"{failure}: it is quantised in ComfyUI's own format ({scaled}), which diffusers does not read. Use a bf16, fp16, "
            "unscaled fp8 or GGUF file, or train in ComfyUI with T2V Model from ComfyUI."
        )


def _unpack_tables(denoiser: nn.Module, dtype: torch.dtype) -> None:
    """Unpack quantised weights outside linear layers: diffusers computes with them as if they were plain."""
    for module in denoiser.modules():
        for name, weight in module._parameters.items():
            if is_quantised(weight) and not quantised_layer(module):
                module._parameters[name] = nn.Parameter(unpacked(module, name).to(dtype), requires_grad=False)


def _with_precise_parts(denoiser: Any) -> nn.Module:
    """With the parts in float32 that `from_pretrained` keeps in it: `from_single_file` does so in float16 only."""
    precise = set(denoiser._keep_in_fp32_modules or ())
    if denoiser.dtype == torch.bfloat16:
        for name, parameter in denoiser.named_parameters():
            if precise & set(name.split(".")) and parameter.is_floating_point():
                parameter.data = parameter.data.float()
    return denoiser
