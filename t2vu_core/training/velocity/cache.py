"""Where trajectories are kept while a run draws from them: in memory, or in safetensors files that are mapped into it.

On disk every batch of trajectories is one file, written as soon as it is sampled, so that memory never holds more than
a few batches; a step reads the rows that it draws. Both ways hold the same values, bit for bit. The files may be larger
than memory, so they stay mapped, unlike all others. They are in a folder that the run has locked, or in a temporary one,
and are complete before the folder gets its name; another program that rewrites them ends the run.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.temporary_folders import temporary_folder
from t2vu_core.training.checkpoint import Checkpoint
from t2vu_core.training.workers import Workers

FOLDER = "trajectories"


class MappedRows:
    """The rows of several tensors as one, each read from its file when it is asked for."""

    def __init__(self, parts: Sequence[Tensor]) -> None:
        self._parts = list(parts)
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def nbytes(self) -> int:
        """Size of all rows."""
        return sum(part.nbytes for part in self._parts)

    def __getitem__(self, rows: int | slice | Tensor) -> Tensor:
        if isinstance(rows, int):
            return self._row(rows)
        indices = torch.arange(len(self))[rows].tolist()
        return torch.stack([self._row(index) for index in indices])

    def _row(self, index: int) -> Tensor:
        number = int(torch.searchsorted(self._ends, index, right=True))
        return self._parts[number][index - int(self._ends[number])]


TensorRows = Tensor | MappedRows
Part = Mapping[str, Tensor]
"""The tensors of one batch of trajectories, by name."""


@dataclass(frozen=True)
class TrajectoryCache:
    """A folder for trajectories, or memory if `folder` is None. `fingerprint` identifies the run that they belong to."""

    folder: Path | None = None
    fingerprint: str = ""

    @classmethod
    @contextlib.contextmanager
    def open(cls, recipe: VelocityRecipe, checkpoint: Checkpoint | None, workers: Workers) -> Iterator[TrajectoryCache]:
        """As the recipe says: memory, a folder next to the checkpoint, or one that is removed at the end of this block."""
        if recipe.trajectory_cache == "memory":
            yield cls()
        elif checkpoint is None:
            with temporary_folder(Path(tempfile.gettempdir()), "trajectories") as folder:
                yield cls(folder)
        else:
            own = FOLDER if workers.first else f"{FOLDER}-{workers.rank}"
            yield cls(checkpoint.path.parent / own, checkpoint.fingerprint)

    @property
    def medium(self) -> str:
        """Where trajectories are kept, in words."""
        return "in memory" if self.folder is None else "on disk"

    @property
    def place(self) -> str:
        """The medium, with the folder."""
        return self.medium if self.folder is None else f"{self.medium} in {self.folder}"

    def keep(self, name: str, sample: Callable[[], Iterable[Part]], *, batches: int, workers: Workers) -> dict[str, TensorRows]:
        """The trajectories that `sample` gives in `batches` parts, the first of which is the largest.

        If every process still has them on disk from an earlier start of this run, `sample` is not called.
        """
        if self.folder is None:
            return _joined_in_memory(list(sample()))
        folder = self.folder / name
        found = self._read(folder)
        if workers.any(found is None):
            with _whole_folder(folder) as partial:
                self._write(partial, sample(), batches)
            found = self._read(folder)
        assert found is not None
        return found

    def drop(self, name: str) -> None:
        """Remove trajectories that are not used any more; those that are still mapped are removed with the folder."""
        if self.folder is not None:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def clear(self) -> None:
        """Remove everything; nothing will resume from here."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, folder: Path, parts: Iterable[Part], batches: int) -> None:
        for number, part in enumerate(parts):
            if number == 0:
                _check_room(folder, batches * sum(tensor.nbytes for tensor in part.values()))
            whole = {name: tensor.contiguous() for name, tensor in part.items()}
            save_file(whole, folder / f"{number:05d}.safetensors", {"fingerprint": self.fingerprint})

    def _read(self, folder: Path) -> dict[str, TensorRows] | None:
        """The trajectories in a folder, mapped and not read yet; None if there are none of this run."""
        parts = []
        try:
            for path in sorted(folder.glob("*.safetensors")):
                with safe_open(str(path), framework="pt") as file:
                    if (file.metadata() or {}).get("fingerprint") != self.fingerprint:
                        return None
                    parts.append({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (SafetensorError, OSError):
            return None
        return _joined_on_disk(parts) if parts else None


def gigabytes(count: int) -> str:
    """A number of bytes in words."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _columns(parts: Sequence[Part]) -> dict[str, list[Tensor]]:
    """By name, the tensors of all parts; only the first parts may have masks."""
    return {name: [part[name] for part in parts if name in part] for name in parts[0]}


def _joined_in_memory(parts: Sequence[Part]) -> dict[str, TensorRows]:
    return {name: torch.cat(tensors) for name, tensors in _columns(parts).items()}


def _joined_on_disk(parts: Sequence[Part]) -> dict[str, TensorRows]:
    """One number a row is kept in memory; larger rows stay in their files."""
    columns = _columns(parts)
    return {name: torch.cat(each) if each[0].dim() == 1 else MappedRows(each) for name, each in columns.items()}


def _check_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserError(
            f"The trajectories take {gigabytes(size)}, and {folder.parent} has {gigabytes(free)} left: make room, or lower "
            "concept_trajectories, preserve_trajectories or trajectory_steps."
        )


@contextlib.contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """A temporary sibling that becomes `target` if the block succeeds, and is removed if it does not."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot write {target}: {error}. Nothing was left there.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
