"""A linear probe on the second judge's features, and how far a clip is from renders of the world."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from t2vu_core.erasure import hash_tensors
from t2vu_core.errors import UserError
from t2vu_core.miniature.detector import detector_path
from t2vu_core.miniature.worlds import World

NAMES = ("mean", "scale", "subject_weight", "subject_bias", "style_weight", "style_bias", "basis", "references")


@dataclass(frozen=True)
class Probe:
    """What was learnt from renders of a world; features are (..., 1280).

    `basis` (d, 1280) spans the directions in which renders differ most, and `references` (r, d) are renders in it.
    """

    mean: Tensor
    scale: Tensor
    subject_weight: Tensor
    subject_bias: Tensor
    style_weight: Tensor
    style_bias: Tensor
    basis: Tensor
    references: Tensor

    @property
    def name(self) -> str:
        """Changes with its numbers."""
        return hash_tensors([(name, getattr(self, name)) for name in NAMES])[:12]

    def subjects(self, features: Tensor) -> Tensor:
        """Probability of every subject, (..., subjects)."""
        return (self._standard(features) @ self.subject_weight.T + self.subject_bias).sigmoid()

    def styles(self, features: Tensor) -> Tensor:
        """Probability of every style, (..., styles)."""
        return (self._standard(features) @ self.style_weight.T + self.style_bias).softmax(-1)

    def distances(self, features_BFD: Tensor) -> Tensor:
        """Mean distance of a clip's frames to their nearest renders, (B,); 1 is the mean of unseen renders."""
        reduced = self._standard(features_BFD) @ self.basis.T
        return torch.cdist(reduced.flatten(0, -2), self.references).amin(1).view(reduced.shape[:-1]).mean(-1)

    def _standard(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.scale


def probe_path(world: World) -> Path:
    """Where the package ships a world's probe, in half precision."""
    detector = detector_path(world)
    return detector.with_name(detector.name.replace("detector", "second_judge"))


@cache
def load_probe(world: World) -> Probe:
    """The probe of a world. Raises UserError if this installation has none."""
    path = probe_path(world)
    if not path.is_file():
        raise UserError(f"The second judge knows no clips of {world.size} x {world.size} pixels in this installation.")
    return Probe(**{name: tensor.float() for name, tensor in load_file(str(path)).items()})
