"""Sketches of weights: a number for each tensor that tells rounding to another format from a fine-tune or another model.

A hash compares exactly, which fp16, fp8 and GGUF files of the same model cannot pass. A sketch is a projection onto fixed
random signs: a relative change r of a tensor moves it by about r, whatever the format.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from t2vu_core.formatting import percent

SKETCH_LENGTH = 65_536
EXACT = ("float32", "bfloat16")
"""Formats that a hash over bf16 values compares exactly."""
ROUNDED = 2.0
"""Root mean square of the distances in units of the expected rounding. Measured on the miniature: 1.1 for bf16 and fp8."""
OUTLIER = 6.0
"""For a single tensor, in the same units. Measured: at most 3.6 of 72 tensors."""
ANOTHER = 0.5
"""Root mean square of the distances from which on it is another model: independent weights are about 1 apart."""
FLOOR = 1e-4
"""Arithmetic and the digits in the file move a sketch by less."""
EQUAL = 2e-5
"""The digits in the file alone."""
NAMES = {"float8_e4m3fn": "fp8", "float8_e5m2": "fp8 (e5m2)", "bfloat16": "bf16", "float16": "fp16"}

Verdict = Literal["same", "rounded", "fine-tune", "another"]


@dataclass(frozen=True)
class Sketch:
    """The sketches of a model's weights, by name."""

    hash: str
    """The hash of the same weights: a sketch says nothing about a base with another one."""
    precision: str
    """The coarsest format among the weights, for example bfloat16."""
    rounding: float
    """The relative rounding error that this format leaves in a tensor, root mean square."""
    values: Mapping[str, float]

    @classmethod
    def of(cls, digest: str, tensors: Iterable[tuple[str, Tensor]]) -> Sketch:
        """The sketch of stored weights, in PyTorch's own floating-point formats."""
        return cls.made(digest, ((name, str(t.dtype).removeprefix("torch."), rounding(t), sketch(t)) for name, t in tensors))

    @classmethod
    def made(cls, digest: str, parts: Iterable[tuple[str, str, float, float]]) -> Sketch:
        """From name, format, expected rounding and sketch of each tensor."""
        listed = list(parts)
        _, precision, _, _ = max(listed, key=lambda part: part[2], default=("", "float32", 0.0, 0.0))
        square = math.fsum(error**2 for _, _, error, _ in listed) / max(1, len(listed))
        values = {name: float(f"{value:.5g}") for name, _, _, value in listed}
        return cls(digest, precision, float(f"{math.sqrt(square):.4g}"), values)

    def part(self, prefix: str, others: tuple[str, ...]) -> Sketch:
        """The weights whose names start with `prefix`, without it, and with none of `others`."""
        own = {name.removeprefix(prefix): value for name, value in self.values.items()
               if name.startswith(prefix) and not name.startswith(others)}  # fmt: skip
        return Sketch(self.hash, self.precision, self.rounding, own)

    def to_json(self) -> dict[str, Any]:
        """As an erasure file holds it."""
        return {"hash": self.hash, "precision": self.precision, "rounding": self.rounding, "values": dict(self.values)}

    @classmethod
    def from_json(cls, value: Any) -> Sketch:
        """Raises ValueError for anything that `to_json` does not write."""
        if not isinstance(value, dict) or set(value) != {"hash", "precision", "rounding", "values"}:
            raise ValueError("it must have hash, precision, rounding and values")
        numbers = [value["rounding"], *value["values"].values()] if isinstance(value["values"], dict) else [None]
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            raise ValueError("its values must be finite numbers")
        return cls(str(value["hash"]), str(value["precision"]), float(value["rounding"]), value["values"])


@dataclass(frozen=True)
class Comparison:
    """How weights differ from those that an erasure was trained on."""

    verdict: Verdict
    off: float = 0.0
    """Relative difference of the weights, root mean square over the tensors."""
    precision: str = ""
    """The coarser of the two formats."""
    rounding: float = 0.0
    """The difference that rounding to it explains."""

    def __str__(self) -> str:
        if self.verdict == "same":
            return "the same weights"
        if self.verdict == "another":
            return f"another model (off by {self.off:.0%})"
        if self.verdict == "fine-tune":
            return f"a fine-tune, off by {percent(self.off)}"
        if self.off < EQUAL:
            return "the same weights"
        said = f"the same but for rounding ({spoken(self.precision)}, off by {percent(self.off)})"
        if self.rounding < 0.01:
            return said
        return f"{said}; a fine-tune that changes less than that cannot be told from it"


def spoken(precision: str) -> str:
    """A format as people call it."""
    for name, short in NAMES.items():
        precision = precision.replace(name, short)
    return precision


def compare(trained: Sketch, own: Sketch, errors: Mapping[str, float] | None = None) -> Comparison:
    """How a model differs from the one that was trained on.

    `errors` are the expected rounding errors of the model's own tensors; without them, its mean error stands for each.
    """
    coarser = own if own.rounding >= trained.rounding else trained
    if trained.values.keys() != own.values.keys() or not own.values:
        return Comparison("another", 1.0, coarser.precision, coarser.rounding)
    names = sorted(own.values)
    away = torch.tensor([own.values[name] - trained.values[name] for name in names], dtype=torch.float64)
    noise = torch.tensor([own.rounding if errors is None else errors[name] for name in names], dtype=torch.float64)
    noise = (noise.square() + trained.rounding**2).sqrt().clamp_min(FLOOR)
    off, units = float(away.square().mean().sqrt()), away / noise
    explained = float(units.square().mean().sqrt()) <= ROUNDED and float(units.abs().max()) <= OUTLIER
    # Between formats that the hash compares exactly, another hash is a real difference, however small.
    if explained and not (own.precision in EXACT and trained.precision in EXACT and off >= FLOOR):
        return Comparison("rounded", off, coarser.precision, coarser.rounding)
    return Comparison("fine-tune" if off < ANOTHER else "another", off, coarser.precision, coarser.rounding)


def sketch(weight: Tensor) -> float:
    """A number in about [-4, 4] that hardly depends on the number format: a projection onto fixed random signs."""
    values = _sampled(weight)
    signs = torch.randint(0, 2, values.shape, generator=torch.Generator().manual_seed(0)).float() * 2 - 1
    return float(values @ signs / values.norm().clamp_min(1e-12))


def rounding(stored: Tensor) -> float:
    """The relative error that rounding to the stored format has left, expected from the spacing of numbers at the values."""
    if not stored.dtype.is_floating_point or stored.dtype == torch.float32:
        return 0.0
    limits, values = torch.finfo(stored.dtype), _sampled(stored)
    _, exponent = values.abs().clamp_min(limits.smallest_normal).frexp()
    spacing = limits.eps * torch.exp2(exponent.float() - 1)
    # A tensor of zeros may have been anything that rounds to zero.
    return min(1.0, float(spacing.norm() / math.sqrt(12) / values.norm().clamp_min(1e-12)))


def _sampled(weight: Tensor) -> Tensor:
    flat = weight.detach().flatten()
    return flat[:: max(1, len(flat) // SKETCH_LENGTH)].to("cpu", torch.float32)
