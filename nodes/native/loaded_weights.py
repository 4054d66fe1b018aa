"""The weights of ComfyUI's models as they were loaded, as numbers: no LoRAs, scales applied, quantised layers unpacked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from t2vu_core.quantised_weights import StoredWeight
from t2vu_core.weight_sketch import rounding

UNQUANTISED = 16
"""Bits of a number from which on a GGUF tensor is in a floating-point format."""


@dataclass(frozen=True)
class Format:
    """How a tensor is stored."""

    name: str
    rounding: float
    """The relative error that this format is expected to have left."""
    plain: bool
    """Whether it is one of PyTorch's own formats, without a scale."""
    shape: torch.Size


class LoadedWeights(Mapping[str, Tensor]):
    """The weights by ComfyUI's names, each unpacked when it is read; `formats` has those that were read.

    A scale is applied. A tensor in one of PyTorch's formats is itself, not a copy. Raises KeyError for a missing weight.
    """

    def __init__(self, patcher: Any, network: nn.Module, prefix: str = "diffusion_model.") -> None:
        """`prefix` is that of the network's weights in the patcher's model."""
        # While a LoRA is merged in, the patcher holds the weights as they were loaded.
        self._network, self._backup, self._prefix = network, patcher.backup, prefix
        self.formats: dict[str, Format] = {}

    @torch.no_grad()
    def __getitem__(self, key: str) -> Tensor:
        path, _, name = key.rpartition(".")
        try:
            module = self._network.get_submodule(path)
            stored = getattr(module, name)
        except AttributeError as error:
            raise KeyError(key) from error
        if stored is None:
            raise KeyError(key)
        kept = self._backup.get(f"{self._prefix}{key}")
        stored = stored if kept is None else kept.weight
        values, name_of_format, left, plain = _unpacked(module, stored)
        scale = getattr(module, "scale_weight", None) if name == "weight" else None
        if scale is not None:
            values, name_of_format, plain = (
                values.float() * scale.to(values.device, torch.float32),
                f"scaled {name_of_format}",
                False,
            )
        self.formats[key] = Format(name_of_format, left, plain, values.shape)
        return values

    def stored(self, key: str) -> StoredWeight:
        """A weight, and how it is stored."""
        values = self[key]
        return StoredWeight(values, self.formats[key].name, self.formats[key].rounding)

    def fp8_scale(self, key: str) -> float | None:
        """The factor of a weight's fp8 numbers; None if it is not in fp8."""
        values = self[key]
        if "float8_e4m3fn" not in self.formats[key].name:
            return None
        scale = getattr(self._network.get_submodule(key.rpartition(".")[0]), "scale_weight", None)
        if scale is not None:
            return float(scale)
        return 1.0 if self.formats[key].plain else float(values.abs().max()) / torch.finfo(torch.float8_e4m3fn).max

    def is_rescaled(self, key: str) -> bool:
        """Whether ComfyUI chooses another scale when something is merged into the weight: its quantised tensors have one."""
        path, _, name = key.rpartition(".")
        return hasattr(getattr(self._network.get_submodule(path), name), "_qdata")

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._network.named_parameters())

    def __len__(self) -> int:
        return sum(1 for _ in self)


class StoredWeights(Mapping[str, StoredWeight]):
    """`LoadedWeights` with how each is stored."""

    def __init__(self, weights: LoadedWeights) -> None:
        self._weights = weights

    def __getitem__(self, key: str) -> StoredWeight:
        return self._weights.stored(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def _unpacked(module: nn.Module, stored: Any) -> tuple[Tensor, str, float, bool]:
    """The values, and what `Format` has of them."""
    packed = getattr(stored, "_qdata", None)
    if packed is not None:
        # ComfyUI's quantised tensors: fp8 and int8 with scales, nvfp4.
        values = stored.dequantize()
        if packed.dtype.is_floating_point and packed.element_size() == 1:
            return values, f"scaled {_name(packed)}", rounding(packed), False
        bits = 8 * packed.numel() * packed.element_size() / max(1, values.numel())
        return values, f"{bits:.0f}-bit numbers", _of_bits(bits), False
    if hasattr(module, "get_weight") and hasattr(stored, "tensor_type"):
        return _from_gguf(module, stored)
    if stored.is_meta:
        raise NotImplementedError("the weights are not in memory yet")
    return stored, _name(stored), rounding(stored), True


def _from_gguf(module: Any, stored: Any) -> tuple[Tensor, str, float, bool]:
    """ComfyUI-GGUF's tensors hold blocks, which only their layer can unpack, and carry LoRAs that are not merged."""
    patches, stored.patches = stored.patches, []
    try:
        values = module.get_weight(stored, torch.float32)
    finally:
        stored.patches = patches
    bits = 8 * stored.numel() * stored.element_size() / max(1, values.numel())
    if bits >= UNQUANTISED:
        name = {torch.float16: "float16", torch.float32: "float32"}.get(stored.dtype, "bfloat16")
        return values, name, rounding(values.to(getattr(torch, name))), True
    return values, f"GGUF {getattr(stored.tensor_type, 'name', stored.tensor_type)}", _of_bits(bits), False


def _of_bits(bits: float) -> float:
    """The expected error of blocks of integers with a scale.

    Measured on the miniature's weights, and given here: Q8_0 0.0055 and 0.0055, Q5_1 0.039 and 0.031, Q5_0 0.045 and 0.044,
    Q4_1 0.080 and 0.063, Q4_0 0.090 and 0.088.
    """
    return float(min(1.0, 2 ** (1 - bits)))


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
