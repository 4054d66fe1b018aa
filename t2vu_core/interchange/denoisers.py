"""The two denoisers of Wan 2.2 A14B: one erasure holds the tensors of both, and other programs load them separately."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor

from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError

SECOND_DENOISER = "transformer_2."
STRETCHES = {"": "high_noise", SECOND_DENOISER: "low_noise"}
"""Common names of the two denoisers, by the prefix of their sites."""
ONLY_DENOISER = "only"
DENOISERS = (ONLY_DENOISER, *STRETCHES.values())

Part = TypeVar("Part")


def by_denoiser(parts: Mapping[str, Part]) -> dict[str, dict[str, Part]]:
    """What is named by site, for each denoiser, without the denoiser's prefix."""
    divided: dict[str, dict[str, Part]] = {}
    for site, part in parts.items():
        prefix = SECOND_DENOISER if site.startswith(SECOND_DENOISER) else ""
        divided.setdefault(prefix, {})[site.removeprefix(prefix)] = part
    return divided


def denoiser_tensors(erasure: Erasure, denoiser: str = ONLY_DENOISER) -> dict[str, Tensor]:
    """The tensors for one of DENOISERS. Raises UserError if the erasure is for no such denoiser."""
    parts = by_denoiser(erasure.tensors)
    titles = STRETCHES if len(parts) > 1 else dict.fromkeys(parts, ONLY_DENOISER)
    named = {titles[prefix]: part for prefix, part in parts.items()}
    if denoiser not in named:
        raise UserError(f"For this eraser, denoiser must be {' or '.join(named)}, not {denoiser!r}.")
    return named[denoiser]
