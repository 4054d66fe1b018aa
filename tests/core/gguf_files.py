"""Single files of tiny denoisers, as ComfyUI's users hold them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import Tensor

from tests.core.tiny_models import TinyModel

LTX_NAMES = {"proj_in": "patchify_proj", "time_embed.": "adaln_single.", "norm_q": "q_norm", "norm_k": "k_norm"}
"""diffusers' names and those of the released files."""


def released_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """LTX's weights under the names of its released files."""
    renamed = {}
    for name, value in state.items():
        for ours, theirs in LTX_NAMES.items():
            name = name.replace(ours, theirs)
        renamed[f"model.diffusion_model.{name}"] = value.contiguous()
    return renamed


def weights(tiny: TinyModel) -> dict[str, Tensor]:
    """The denoiser's weights, under released names for LTX."""
    state = tiny.model.family.pipeline.transformer.state_dict()
    return released_names(state) if tiny.name.startswith("ltx") else {name: value.contiguous() for name, value in state.items()}


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """A safetensors file."""
    save_file(dict(tensors), path)
    return path


def write_gguf(path: Path, tensors: Mapping[str, Tensor], kind: str) -> Path:
    """A GGUF file as converters write it: matrices of linear layers quantised, all else in float32."""
    gguf = pytest.importorskip("gguf", reason="gguf is not installed")
    quantised, writer = gguf.GGMLQuantizationType[kind], gguf.GGUFWriter(path, "t2vu-test")
    for name, value in tensors.items():
        plain = value.float().numpy()
        if plain.ndim == 2 and plain.shape[1] % 32 == 0:
            writer.add_tensor(name, gguf.quantize(plain, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(name, plain)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
