"""Weights that a library keeps quantised (GGUF, bitsandbytes, torchao, optimum-quanto), as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from t2vu_core.weight_sketch import rounding

UNQUANTISED = 16
"""Bits of a number from which on a GGUF tensor is in a floating-point format."""
PLANNED = "t2vu_unpacked"
"""Method of a layer that stands for a quantised one while memory is planned; it gives what `unpacked` gives."""


@dataclass(frozen=True)
class StoredWeight:
    """A weight as numbers, and how it is stored."""

    values: Tensor
    format: str
    rounding: float
    """The relative error that this format is expected to have left."""


def is_quantised(weight: Any) -> bool:
    """Whether a library stores this weight quantised."""
    if weight is None:
        return False
    return _is_gguf(weight) or _is_bitsandbytes(weight) or type(weight).dequantize is not Tensor.dequantize


def quantised_layer(module: nn.Module) -> bool:
    """Whether a module is a linear layer with a quantised weight."""
    return hasattr(module, PLANNED) or (hasattr(module, "in_features") and is_quantised(getattr(module, "weight", None)))


def has_quantised(module: nn.Module) -> bool:
    """Whether some layer in a module is quantised."""
    return any(map(quantised_layer, module.modules()))


@torch.no_grad()
def unpacked(module: Any, name: str = "weight") -> Tensor:
    """The numbers of a module's quantised weight, in a floating-point format of the library's choice."""
    weight = getattr(module, name)
    if hasattr(module, PLANNED):
        values: Tensor = getattr(module, PLANNED)()
    elif _is_gguf(weight):
        from diffusers.quantizers.gguf.utils import dequantize_gguf_tensor

        values = dequantize_gguf_tensor(weight)
    elif _is_bitsandbytes(weight):
        from diffusers.quantizers.bitsandbytes.utils import dequantize_bnb_weight

        values = dequantize_bnb_weight(weight, getattr(module, "state", None))
    else:
        values = weight.dequantize()
    return values


def stored_weights(module: nn.Module, fp8: torch.dtype | None = None) -> Iterator[tuple[str, StoredWeight]]:
    """The weights of a module by their names in its unquantised state dict, in its order.

    `fp8`: the format of the file that they were read from, if that is an 8-bit one; they may have been cast since.
    """
    if not has_quantised(module):
        for name, value in module.state_dict().items():
            yield name, plain_weight(value, fp8)
        return
    for path, part in module.named_modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                key = f"{path}.{name}" if path else name
                yield key, _stored(part, name, weight) if is_quantised(weight) else plain_weight(weight, fp8)


def stored_parameter(module: nn.Module, name: str) -> StoredWeight:
    """A module's own parameter."""
    weight = getattr(module, name).detach()
    return _stored(module, name, weight) if is_quantised(weight) else plain_weight(weight)


def plain_weight(value: Tensor, fp8: torch.dtype | None = None) -> StoredWeight:
    """A weight in one of PyTorch's own formats; `fp8` is as in `stored_weights`."""
    stored = value if fp8 is None else value.to(fp8)
    if fp8 is not None and not torch.equal(stored.to(value.dtype), value):
        stored = value
    return StoredWeight(value, str(stored.dtype).removeprefix("torch."), rounding(stored))


def _stored(module: nn.Module, name: str, weight: Any) -> StoredWeight:
    values = unpacked(module, name)
    bits = 8 * stored_bytes(weight) / max(1, values.numel())
    if _is_gguf(weight) and bits >= UNQUANTISED:
        return plain_weight(values.to(torch.bfloat16))
    if _is_gguf(weight):
        return StoredWeight(values, f"GGUF {weight.quant_type.name}", expected_error(bits))
    packed = next((part for part in _parts(weight) if part.dtype in (torch.float8_e4m3fn, torch.float8_e5m2)), None)
    if packed is not None:
        return StoredWeight(values, f"scaled {str(packed.dtype).removeprefix('torch.')}", rounding(packed))
    return StoredWeight(values, f"{int(bits)}-bit numbers", expected_error(bits))


def stored_bytes(weight: Any) -> int:
    """Bytes of a weight with its scales."""
    state = getattr(weight, "quant_state", None)
    scales = 0 if state is None else state.absmax.nbytes
    return scales + sum(part.numel() * part.element_size() for part in _parts(weight))


def expected_error(bits: float) -> float:
    """The relative error of blocks of integers with a scale, by the bits that a number takes with its share of the scale.

    Measured on normally distributed weights, and given here: Q8_0 0.0055 and 0.0055, Q5_1 0.039 and 0.031, Q4_0 0.090 and
    0.088.
    """
    return float(min(1.0, 2 ** (1 - bits)))


def _parts(weight: Any) -> Iterator[Tensor]:
    """The plain tensors that a tensor subclass is made of."""
    if type(weight) in (Tensor, nn.Parameter) or not hasattr(weight, "__tensor_flatten__"):
        yield weight
        return
    names, _ = weight.__tensor_flatten__()
    for name in names:
        yield from _parts(getattr(weight, name))


def _is_gguf(weight: Any) -> bool:
    return hasattr(weight, "quant_type") and hasattr(weight, "quant_shape")


def _is_bitsandbytes(weight: Any) -> bool:
    return type(weight).__name__ in ("Params4bit", "Int8Params")
