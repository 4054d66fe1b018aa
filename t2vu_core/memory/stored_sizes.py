"""How many bytes quantised weights take, from a configuration or a file's list of tensors; no weight is read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from t2vu_core.errors import UserError, reading
from t2vu_core.model_source import FIRST, SECOND, ModelSource

SCALE = 2.0
"""Bytes of a scale: one for each row of an 8-bit weight, or for each group of a 4-bit one."""
GROUP = 64
"""Values that share a scale in 4-bit formats, as bitsandbytes has them."""
BITS = {"int2": 2, "int4": 4, "uint4": 4, "int8": 8, "uint8": 8, "float8": 8}
SKIPPED = ("modules_to_not_convert", "llm_int8_skip_modules")


@dataclass(frozen=True)
class StoredSize:
    """How the linear layers of a network are stored."""

    bits: float
    """Of a value, its share of a group's scale included."""
    row_scale: float = 0.0
    """Bytes of the scale of a row."""
    skipped: tuple[str, ...] = ()
    """Parts of names of layers that are not quantised."""
    unpacked_through: torch.dtype | None = None
    """The precision of a copy that is made before the one to compute with."""

    def takes(self, name: str, module: nn.Module) -> bool:
        """Whether this layer is stored so."""
        return isinstance(module, nn.Linear) and not any(part in name for part in self.skipped)

    def of(self, layer: nn.Linear) -> float:
        """Bytes of a layer's weight."""
        return layer.weight.numel() * self.bits / 8 + layer.out_features * self.row_scale


def stored_sizes(source: ModelSource, names: Iterator[str], dtype: torch.dtype) -> dict[str, StoredSize]:
    """How the components of these names are stored, those that are quantised."""
    found = {name: _stored(source, name, dtype) for name in names}
    return {name: size for name, size in found.items() if size is not None}


def is_quantised_folder(source: ModelSource) -> bool:
    """Whether a denoiser of the folder is stored quantised."""
    return any(_config(source, name) is not None for name in (FIRST, SECOND) if name not in source.files)


def _config(source: ModelSource, name: str) -> Mapping[str, Any] | None:
    path = source.folder / name / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")).get("quantization_config") if path.is_file() else None
    return config if isinstance(config, Mapping) else None


def _stored(source: ModelSource, name: str, dtype: torch.dtype) -> StoredSize | None:
    if name in source.files:
        return _of_gguf(source.files[name], dtype) if source.files[name].suffix.lower() == ".gguf" else None
    config = _config(source, name)
    return None if config is None else _of_config(config, dtype)


def _of_gguf(file: Path, dtype: torch.dtype) -> StoredSize | None:
    """The mean over the file's matrices, which may be of several formats; plain ones are cast to `dtype`."""
    try:
        from gguf import GGMLQuantizationType, GGUFReader
    except ImportError as error:
        raise UserError(f"{file} needs the package gguf: pip install gguf.") from error
    plain = (GGMLQuantizationType.F32, GGMLQuantizationType.F16)
    with reading(f"{file} cannot be planned"):
        matrices = [each for each in GGUFReader(file).tensors if len(each.shape) == 2]
        values = {id(each): math.prod(int(length) for length in each.shape) for each in matrices}
    total = sum(values[id(each)] * dtype.itemsize if each.tensor_type in plain else int(each.n_bytes) for each in matrices)
    if all(each.tensor_type in plain for each in matrices):
        return None
    return StoredSize(8 * total / sum(values.values()), unpacked_through=torch.float16)


def _of_config(config: Mapping[str, Any], dtype: torch.dtype) -> StoredSize:
    """From a quantization_config of bitsandbytes, quanto or torchao."""
    skipped = tuple(str(part) for key in SKIPPED for part in config.get(key) or ())
    bits = _bits(config)
    if bits == 8:
        return StoredSize(bits, max(SCALE, dtype.itemsize), skipped)
    shared = 8 * 4 / GROUP if "bitsandbytes" in str(config.get("quant_method")) else 8 * 2 * SCALE / GROUP
    return StoredSize(bits + shared, 0.0, skipped)


def _bits(config: Mapping[str, Any]) -> int:
    if config.get("load_in_4bit") or config.get("_load_in_4bit"):
        return 4
    kind = json.dumps([config.get("weights_dtype"), config.get("quant_type")]).lower()
    return next((bits for name, bits in BITS.items() if name in kind), 8)
