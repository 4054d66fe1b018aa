"""Checkpoints of a training: one safetensors file that appears whole or not at all, and resumes exactly.

The random numbers of a step depend on seed and step alone (`loop.step_generator`), so parameters, the
optimizer's moments and the step number are the whole state.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from t2vu_core.erasure import atomic_path, hash_tensors
from t2vu_core.errors import UserError
from t2vu_core.model import T2VModel

log = logging.getLogger(__name__)

EXTRA = "extra."
KEPT = 3
"""Unfinished trainings whose folders are kept; the one that rested longest goes when another begins."""
OWN_NAME = 16
"""Letters of a training's fingerprint that name its own folder."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a training keeps its state, and which training it is."""

    path: Path
    fingerprint: str
    every: int = 25
    extra: dict[str, Tensor] = field(default_factory=dict)
    """What else a training needs to go on; saved with the state, and filled again by `load`."""
    begun: float = field(default_factory=time.monotonic)
    spent: list[float] = field(default_factory=list)
    """Seconds that the training took before it was stopped; filled by `load`."""
    passing: bool = False
    """Whether the folder is this training's own and goes with its end."""

    @classmethod
    def in_folder(cls, folder: Path | None, model: T2VModel, *parts: Any, unfinished: Path | None = None) -> Checkpoint | None:
        """The state of the training that `model`, with the erasures it carries, and `parts` (JSON values) make.

        It lies in `folder`, or without one in a folder of its own in `unfinished`; None where both are missing.
        """
        carried = [[applied.strength, hash_tensors(sorted(applied.erasure.tensors.items()))] for applied in model.erasures]
        fingerprint = fingerprint_of(*parts, model.base.hash, str(model.family.dtype), carried)
        if folder is not None:
            return cls(folder / "state.safetensors", fingerprint)
        if unfinished is None:
            return None
        own = unfinished / fingerprint[:OWN_NAME]
        _make_room(own)
        return cls(own / "state.safetensors", fingerprint, passing=True)

    def finish(self) -> None:
        """The training has ended: nothing goes on from its own folder any more."""
        if self.passing:
            shutil.rmtree(self.path.parent, ignore_errors=True)

    def save(self, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, losses: list[float]) -> None:
        """Write parameters, moments and losses; the number of losses is the step to go on with.

        Raises UserError where nothing can be written, unless nobody asked for this state: then the training goes on without.
        """
        tensors = {f"parameter.{name}": parameter.detach() for name, parameter in parameters.items()}
        for name, parameter in parameters.items():
            for key, value in optimizer.state[parameter].items():
                tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
        tensors |= {f"{EXTRA}{name}": tensor for name, tensor in self.extra.items()}
        tensors = {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        seconds = sum(self.spent) + time.monotonic() - self.begun
        metadata = {"fingerprint": self.fingerprint, "losses": json.dumps(losses), "seconds": str(seconds)}
        try:
            with atomic_path(self.path) as temporary:
                save_file(tensors, str(temporary), metadata)
        except UserError as error:
            if not self.passing:
                raise
            log.warning("%s The training goes on, but would begin anew if it were stopped.", error)

    def load(self, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> list[float]:
        """Put a saved state back, if there is one; returns the losses so far.

        Raises UserError for a damaged file and for the state of another training.
        """
        if not self.path.is_file():
            return []
        tensors, metadata = self._read()
        if metadata.get("fingerprint") != self.fingerprint:
            raise UserError(
                f"{self.path} is the state of another training (other concept, model, prompts or settings). "
                "Resume with the same, or name another folder."
            )
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(tensors[f"parameter.{name}"])
                optimizer.state[parameter] = self._moments(tensors, name, parameter)
        self.extra.update({name.removeprefix(EXTRA): tensor for name, tensor in tensors.items() if name.startswith(EXTRA)})
        self.spent.append(float(metadata.get("seconds", 0)))
        return json.loads(metadata["losses"])

    def _read(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        try:
            with safe_open(str(self.path), framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UserError(f"The checkpoint {self.path} cannot be read ({error}). Remove it to start anew.") from error

    @staticmethod
    def _moments(tensors: Mapping[str, Tensor], name: str, parameter: nn.Parameter) -> dict[str, Tensor]:
        ending = f".{name}"
        moments = {
            key.removeprefix("optimizer.").removesuffix(ending): value
            for key, value in tensors.items()
            if key.startswith("optimizer.") and key.endswith(ending)
        }
        # Adam counts its steps on the CPU, whatever device the parameters are on.
        return {key: value if key == "step" else value.to(parameter.device) for key, value in moments.items()}


def _make_room(folder: Path) -> None:
    """Remove the folders beside this one that were written longest ago, so that with it there are at most KEPT."""
    others = [path for path in folder.parent.glob("[0-9a-f]" * OWN_NAME) if path != folder]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


def fingerprint_of(*parts: Any) -> str:
    """Hash of what makes two trainings the same: JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
