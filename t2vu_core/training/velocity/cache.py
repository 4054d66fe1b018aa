"""Where trajectories lie while a training draws from them: in memory, or in safetensors files that are mapped into it.

On disk the points of a batch are written as soon as they are sampled, so that memory never holds more than a few
batches; a step then reads the rows that it draws. Both ways hold the same values, bit for bit.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from t2vu_core.erasure import SUFFIX, atomic_path
from t2vu_core.errors import UserError
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.checkpoint import Checkpoint
from t2vu_core.training.velocity.trajectories import Trajectories
from t2vu_core.training.workers import Workers

FOLDER = "trajectories"
TYPES = {torch.int64: "I64", torch.float32: "F32", torch.bfloat16: "BF16", torch.uint8: "U8"}


class _Writer:
    """Fills a safetensors file, whose layout the first part decides: it has room for the points of all `prompts`."""

    def __init__(self, file: BinaryIO, fingerprint: str, *, prompts: int, masks: int) -> None:
        self._file, self._fingerprint, self._prompts, self._masks = file, fingerprint, prompts, masks
        self._next: dict[str, int] = {}
        """Where in the file the next rows of a tensor belong."""

    def add(self, part: Trajectories) -> None:
        tensors = part.tensors()
        if not self._next:
            self._lay_out(tensors, prompts=len(part.ends))
        for name, tensor in tensors.items():
            raw = tensor.contiguous().view(-1).view(torch.uint8).numpy()
            self._file.seek(self._next[name])
            self._file.write(raw.data)
            self._next[name] += len(raw)

    def _lay_out(self, tensors: dict[str, Tensor], *, prompts: int) -> None:
        header: dict[str, object] = {"__metadata__": {"fingerprint": self._fingerprint}}
        starts, end = {}, 0
        # Wide types first: every tensor then begins at a multiple of its own width.
        for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
            rows = self._masks if name == "masks" else len(tensor) // prompts * self._prompts
            shape = [rows, *tensor.shape[1:]]
            starts[name], end = end, end + math.prod(shape) * tensor.element_size()
            header[name] = {"dtype": TYPES[tensor.dtype], "shape": shape, "data_offsets": [starts[name], end]}
        encoded = json.dumps(header).encode()
        encoded += b" " * (-len(encoded) % 8)
        first = 8 + len(encoded)
        free = shutil.disk_usage(Path(self._file.name).parent).free
        if free < first + end:
            raise UserError(
                f"The trajectories take {gigabytes(end)}, and {Path(self._file.name).parent} has {gigabytes(free)} left: make "
                "room, or lower concept_trajectories, preserve_trajectories or trajectory_steps."
            )
        self._file.write(len(encoded).to_bytes(8, "little") + encoded)
        self._file.truncate(first + end)
        self._next = {name: first + start for name, start in starts.items()}


@dataclass(frozen=True)
class TrajectoryCache:
    """A folder for them, or memory where there is none. `fingerprint` says which training they belong to."""

    folder: Path | None = None
    fingerprint: str = ""

    @classmethod
    @contextlib.contextmanager
    def open(cls, recipe: VelocityRecipe, checkpoint: Checkpoint | None, workers: Workers) -> Iterator[TrajectoryCache]:
        """As the recipe says: a folder beside the checkpoint, or one that is removed at the end of this block."""
        if recipe.trajectory_cache == "memory":
            yield cls()
        elif checkpoint is None:
            with tempfile.TemporaryDirectory(prefix="t2vu-trajectories-", ignore_cleanup_errors=True) as folder:
                yield cls(Path(folder))
        else:
            own = FOLDER if workers.first else f"{FOLDER}-{workers.rank}"
            yield cls(checkpoint.path.parent / own, checkpoint.fingerprint)

    @property
    def medium(self) -> str:
        """In words."""
        return "in memory" if self.folder is None else "on disk"

    @property
    def place(self) -> str:
        """In words, with the folder."""
        return self.medium if self.folder is None else f"{self.medium} in {self.folder}"

    def keep(
        self, name: str, sample: Callable[[], Iterable[Trajectories]], *, prompts: int, masks: int, workers: Workers
    ) -> Trajectories:
        """The trajectories of `prompts` prompts, with masks of the first `masks` of them.

        Where every worker still has those of an earlier run of this training, `sample` is not called.
        """
        if self.folder is None:
            return Trajectories.cat(list(sample()))
        path = self.folder / f"{name}{SUFFIX}"
        found = _read(path, self.fingerprint)
        if workers.any(found is None):
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                writer = _Writer(file, self.fingerprint, prompts=prompts, masks=masks)
                for part in sample():
                    writer.add(part)
            found = _read(path, self.fingerprint)
        assert found is not None
        return found

    def drop(self, name: str) -> None:
        """Trajectories that nothing draws from any more; where they are still mapped, they go with the folder."""
        if self.folder is not None:
            with contextlib.suppress(OSError):
                (self.folder / f"{name}{SUFFIX}").unlink(missing_ok=True)

    def clear(self) -> None:
        """Nothing will go on from here."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def gigabytes(count: int) -> str:
    """A number of bytes in words."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _read(path: Path, fingerprint: str) -> Trajectories | None:
    """What a file holds, mapped into memory and not read yet; None for another training's, or none."""
    try:
        with safe_open(str(path), framework="pt") as file:
            if (file.metadata() or {}).get("fingerprint") != fingerprint:
                return None
            return Trajectories.from_tensors({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError):
        return None
