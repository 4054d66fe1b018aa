"""Checkpoints of a training run: one safetensors file that appears whole or not at all, and resumes exactly.

The random numbers of a step depend only on seed and step (`loop.step_generator`), so the parameters, the optimizer's
moments, the losses and what a method adds are the whole state.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from t2vu_core import __version__
from t2vu_core.erasure import atomic_path, hash_tensors, read_tensors
from t2vu_core.errors import UserError, reading
from t2vu_core.folder_lock import locked_folder
from t2vu_core.model import T2VModel
from t2vu_core.temporary_folders import remove_leftovers
from t2vu_core.threads import keep_threads
from t2vu_core.training.own_folders import STATE, own_folder, tell_of_older_runs
from t2vu_core.training.progress import ProgressCallback
from t2vu_core.training.saved_state import EXTRA, OPTIMIZER, PARAMETER, read_losses, read_moments, read_seconds

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """Where a run saves its state, and which run it is."""

    path: Path
    fingerprint: str
    every: int = 25
    temporary: bool = False
    """Whether the folder belongs to this run alone and is removed when the run is complete."""
    about: str = ""
    """What the run erases, in words."""

    @classmethod
    def in_folder(
        cls, folder: Path | None, model: T2VModel | None, *parts: Any, unfinished: Path | None = None, about: str = ""
    ) -> Checkpoint | None:
        """The checkpoint of the run that `model`, with its erasures, and `parts` (JSON values) define.

        In `folder`; without one, in a folder of its own in `unfinished`. None if both are missing. `about` names what it
        erases.
        """
        fingerprint = fingerprint_of(*parts, *([] if model is None else _described(model)))
        if folder is not None:
            return cls(folder / STATE, fingerprint, about=about)
        if unfinished is None:
            return None
        return cls(own_folder(unfinished, fingerprint) / STATE, fingerprint, temporary=True, about=about)

    def tell_of_older_runs(self, on_progress: ProgressCallback | None) -> None:
        """Log and report that another version left a run unfinished that this one cannot go on with."""
        if self.temporary:
            tell_of_older_runs(self.path.parent, self.about, on_progress)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs out of the folder, and remove what a killed run did not finish writing there.

        Raises UserError if another run holds the folder.
        """
        with locked_folder(self.path.parent):
            remove_leftovers(self.path.parent)
            yield

    def finish(self) -> None:
        """The run is complete: remove its own folder."""
        if self.temporary:
            shutil.rmtree(self.path.parent, ignore_errors=True)

    def write(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bool:
        """Save the state; returns whether it is saved.

        Raises UserError if it cannot be written; a temporary checkpoint only logs a warning.
        """
        copied = {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        try:
            with atomic_path(self.path) as temporary:
                save_file(copied, str(temporary), {**self._facts(), **metadata})
        except UserError as error:
            if not self.temporary:
                raise
            log.warning("%s The training goes on, but it could not be resumed if it were stopped.", error)
            return False
        return True

    def _facts(self) -> dict[str, str]:
        return {"fingerprint": self.fingerprint, "version": __version__, "about": self.about}

    def read(self) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """The saved tensors and metadata; None if there is no file.

        Raises UserError if the file is damaged or belongs to another run.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(str(self.path), framework="pt") as file:
                tensors, metadata = read_tensors(file), file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise UserError(f"The checkpoint {self.path} cannot be read ({error}). Remove it to start over.") from error
        if metadata.get("fingerprint") != self.fingerprint:
            raise UserError(
                f"{self.path} is the state of another training (other concept, model, prompts or settings, "
                "or an earlier version). "
                "Resume with the same ones, or choose another folder."
            )
        return tensors, metadata


@dataclass
class TrainingState:
    """What changes while a run trains. A checkpoint, if there is one, saves it and restores it."""

    checkpoint: Checkpoint | None = None
    losses: list[float] = field(default_factory=list)
    """One per step; their number is the next step."""
    extra: dict[str, Tensor] = field(default_factory=dict)
    """What else a method needs to resume."""
    seconds_before: float = 0.0
    """How long the run trained before it was resumed."""
    started: float = field(default_factory=time.monotonic)
    saved_steps: int = 0
    """The steps that the checkpoint holds."""

    @classmethod
    def begun(cls, checkpoint: Checkpoint | None, on_progress: ProgressCallback | None) -> TrainingState:
        """That of a new run; `on_progress` hears of runs that another version left."""
        if checkpoint:
            checkpoint.tell_of_older_runs(on_progress)
        return cls(checkpoint)

    @contextlib.contextmanager
    def held(self, first: bool = True) -> Iterator[None]:
        """`Checkpoint.held`, in the first process of a run and if there is a checkpoint."""
        with self.checkpoint.held() if self.checkpoint and first else contextlib.nullcontext():
            yield

    def save(self, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        """Write parameters, moments, losses and `extra` to the checkpoint."""
        assert self.checkpoint is not None
        tensors = {f"{PARAMETER}{name}": parameter.detach() for name, parameter in parameters.items()}
        for name, parameter in parameters.items():
            for key, value in optimizer.state[parameter].items():
                tensors[f"{OPTIMIZER}{key}.{name}"] = torch.as_tensor(value)
        tensors |= {f"{EXTRA}{name}": tensor for name, tensor in self.extra.items()}
        seconds = self.seconds_before + time.monotonic() - self.started
        metadata = {"losses": json.dumps(self.losses), "seconds": str(seconds), "threads": str(torch.get_num_threads())}
        if self.checkpoint.write(tensors, metadata):
            self.saved_steps = len(self.losses)

    def restore(self, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, *, steps: int) -> None:
        """Put a saved state back, if there is one, of a run of that many steps. Raises UserError like `Checkpoint.read`."""
        saved = self.checkpoint.read() if self.checkpoint else None
        if saved is None:
            return
        assert self.checkpoint is not None
        tensors, metadata = saved
        with reading(f"The checkpoint {self.checkpoint.path} is damaged", ". Remove it to start over."):
            keep_threads(metadata)
            losses, seconds = read_losses(metadata, steps), read_seconds(metadata)
            moments = {name: read_moments(tensors, name, parameter) for name, parameter in parameters.items()}
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(tensors[f"{PARAMETER}{name}"])
                optimizer.state[parameter] = moments[name]
        self.extra = {name.removeprefix(EXTRA): tensor for name, tensor in tensors.items() if name.startswith(EXTRA)}
        self.seconds_before, self.losses = seconds, losses


def _described(model: T2VModel) -> list[Any]:
    """The model, as JSON values: its weights, their precision, the erasures it carries, and what its family adds."""
    carried = [[applied.strength, hash_tensors(sorted(applied.erasure.tensors.items()))] for applied in model.erasures]
    described = model.family.describe()
    return [model.base.hash, str(model.family.dtype), carried, *([described] if described else [])]


def fingerprint_of(*parts: Any) -> str:
    """Hash of the JSON values that make two runs the same."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
