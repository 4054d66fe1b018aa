"""The erasure file: one safetensors file with what it erases, from which base, and its scores.

The header holds one JSON document under `t2vu`, and the ModelSpec keys that model managers read. Files are written
atomically. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from t2vu_core.errors import UserError, first_line, reading
from t2vu_core.file_names import check_names
from t2vu_core.file_stamp import FileStamp
from t2vu_core.input_files import check_output, check_regular
from t2vu_core.scores import Scores
from t2vu_core.temporary_folders import PROBE, temporary_folder
from t2vu_core.weight_sketch import Sketch

FORMAT_VERSION = 1
SUFFIX = ".safetensors"
MOST_TENSORS = 20_000
"""Of an erasure; the largest supported models have some hundred layers with four tensors each."""
ErasureKind = Literal["eraser", "unlearned_encoder"]
KIND_TITLES = {"eraser": "eraser of a denoiser", "unlearned_encoder": "unlearned text encoder"}


@dataclass(frozen=True)
class Base:
    """The model that an erasure was trained for."""

    name: str
    family: str
    hash: str
    """SHA-256 over names, shapes and bf16 values of the weights that the erasure depends on."""
    sketch: Sketch | None = field(default=None, compare=False, repr=False)
    """Of the same weights, to recognise them in other formats; None if there is none, as in files of version 0.1."""

    def describe(self) -> dict[str, str]:
        """Without the sketch."""
        return {"name": self.name, "family": self.family, "hash": self.hash}


@dataclass(frozen=True)
class Erasure:
    """The result of a training run: tensors by name, and their description."""

    kind: ErasureKind
    concepts: tuple[str, ...]
    base: Base
    tensors: Mapping[str, Tensor]
    method: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    prompts: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    scores: Scores | None = None
    """As measured by `evaluate`; None means not measured."""
    encoder: Mapping[str, Any] | None = None
    """For an unlearned encoder: the text encoders that it was trained on (`text_encoders.describe_encoder`)."""
    created: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
    source: FileStamp | None = field(default=None, compare=False, repr=False)
    """The file that it was read from; None for one that was trained or imported."""

    def describe(self) -> dict[str, Any]:
        """Everything except the tensors, as JSON values."""
        return {
            "format_version": FORMAT_VERSION,
            "kind": self.kind,
            "concepts": list(self.concepts),
            "base": self.base.describe(),
            "method": self.method,
            "recipe": dict(self.recipe),
            "prompts": dict(self.prompts),
            "training": dict(self.training),
            "scores": None if self.scores is None else self.scores.to_json(),
            **({} if self.encoder is None else {"encoder": dict(self.encoder)}),
            **({} if self.base.sketch is None else {"base_sketch": self.base.sketch.to_json()}),
            "created": self.created,
        }

    @property
    def partial(self) -> str | None:
        """What is missing of a training run that was stopped or failed before its end, in words; None if nothing is."""
        return partial_of(self.describe())

    def with_scores(self, scores: Scores) -> Erasure:
        """The same erasure with its scores."""
        return dataclasses.replace(self, scores=scores)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file atomically; returns its path, with `.safetensors` appended if it is missing."""
        target = safetensors_path(path)
        metadata = {"format": "pt", "t2vu": json.dumps(self.describe()), **self._model_spec()}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        with atomic_path(target) as temporary:
            save_file(tensors, str(temporary), metadata)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Erasure:
        """Read an erasure file. Raises UserError, with the reason, if it is damaged or is not an erasure."""
        path = check_names(path)
        description = read_description(path)
        try:
            source = FileStamp.of(path)
            with safe_open(str(path), framework="pt") as file:
                tensors = read_tensors(file)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path.name} is damaged and cannot be read ({error}). Get the file again.") from error
        with reading(f"{path.name} holds tensors of a type that erasures do not have"):
            broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
        if broken:
            raise UserError(f"{path.name} holds values that are not finite numbers (in {broken[0]}); it must not be applied.")
        return cls(
            kind=description["kind"],
            concepts=tuple(description["concepts"]),
            base=Base(**description["base"], sketch=_read_sketch(description, path.name)),
            tensors=tensors,
            method=description["method"],
            recipe=description["recipe"],
            prompts=description["prompts"],
            training=description["training"],
            scores=read_scores(description, path.name),
            created=description["created"],
            encoder=description.get("encoder"),
            source=source,
        )

    def _model_spec(self) -> dict[str, str]:
        return {
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": f"{self.base.family}/{self.kind.replace('_', '-')}",
            "modelspec.implementation": "t2v-unlearning",
            "modelspec.title": f"Erases {', '.join(self.concepts)}" + (f" ({self.partial})" if self.partial else ""),
            "modelspec.date": self.created,
        }


_FIELDS: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "concepts": list,
    "base": dict,
    "method": str,
    "recipe": dict,
    "prompts": dict,
    "training": dict,
    "scores": (dict, type(None)),
    "created": str,
}


def read_description(path: Path) -> dict[str, Any]:
    """The JSON description in a file's header, checked; no tensors are read."""
    if not check_names(path).is_file():
        if path.exists():
            check_regular(path, f"{path} cannot be read", "Name an erasure file.")
        raise UserError(f"There is no erasure file at {path}.")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata, count = file.metadata() or {}, len(file.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path.name} is not a readable safetensors file ({error}).") from error
    if "t2vu" not in metadata:
        raise UserError(
            f"{path.name} is a safetensors file but not an erasure: it has no t2vu description. "
            "Erasures are made by `t2vu erase` or the node Save Erasure."
        )
    if count > MOST_TENSORS:
        raise UserError(f"{path.name} holds {count} tensors; an erasure has at most {MOST_TENSORS}.")
    try:
        description = json.loads(metadata["t2vu"])
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path.name} has a broken description: {first_line(error)}.") from error
    if not isinstance(description, dict):
        raise UserError(f"{path.name} has a broken description: it is not an object.")
    version = description.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise UserError(f"{path.name} has format version {version}; this program reads up to {FORMAT_VERSION}. Update it.")
    for name, kind in _FIELDS.items():
        if name not in description or not isinstance(description[name], kind):
            raise UserError(f"{path.name} has a broken description: {name!r} is missing or of the wrong kind.")
    if description["kind"] not in KIND_TITLES or not {"name", "family", "hash"} == set(description["base"]):
        raise UserError(f"{path.name} has a broken description: unknown kind or base.")
    if not all(isinstance(text, str) for text in [*description["concepts"], *description["base"].values()]):
        raise UserError(f"{path.name} has a broken description: names must be text.")
    if description["kind"] == "unlearned_encoder" and not _says_encoder(description.get("encoder")):
        raise UserError(f"{path.name} has a broken description: it does not say which text encoder it is for.")
    return description


def partial_of(description: Mapping[str, Any]) -> str | None:
    """`Erasure.partial`, of the description in a file."""
    training, recipe = description["training"], description["recipe"]
    if training.get("partial") is not True:
        return None
    return f"partial result: {training.get('steps', '?')} of {recipe.get('steps', '?')} steps"


def is_whole(path: Path) -> bool:
    """Whether there is a file other than a partial result."""
    try:
        return path.exists() and partial_of(read_description(path)) is None
    except UserError:
        return True


def read_scores(description: Mapping[str, Any], name: str) -> Scores | None:
    """The scores in a description. Raises UserError if they are not what `Scores.to_json` writes."""
    scores = description["scores"]
    return None if scores is None else Scores.from_json(scores, f"The scores in {name} are broken")


def _read_sketch(description: Mapping[str, Any], name: str) -> Sketch | None:
    if description.get("base_sketch") is None:
        return None
    try:
        return Sketch.from_json(description["base_sketch"])
    except ValueError as error:
        raise UserError(f"{name} has a broken sketch of its base: {error}.") from error


def _says_encoder(encoder: Any) -> bool:
    """Whether a description has the facts of each encoder and a sketch of its weights."""
    if not isinstance(encoder, dict) or set(encoder) != {"components", "sketch"}:
        return False
    components, sketch = encoder["components"], encoder["sketch"]
    if not isinstance(components, dict) or not isinstance(sketch, dict) or not components:
        return False
    facts = {"kind", "width", "layers", "vocabulary", "tokenizer"}
    return all(isinstance(fact, dict) and set(fact) == facts for fact in components.values()) and all(
        isinstance(value, int | float) for value in sketch.values()
    )


def hash_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over names, shapes and bf16 values, so that a base has the same hash in bf16 and in fp32."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().to("cpu", torch.bfloat16).flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def safetensors_path(path: str | os.PathLike[str]) -> Path:
    """The file to write, with `.safetensors` appended if it is missing. Raises UserError if it is a folder or a device."""
    target = check_names(path)
    if target.is_dir():
        raise UserError(f"{target} is a folder; name the file to write, for example {target / 'ghost.safetensors'}.")
    check_output(target)
    return target if target.suffix == SUFFIX else target.with_name(target.name + SUFFIX)


def read_tensors(file: Any) -> dict[str, Tensor]:
    """Copies of all tensors of a file opened by `safe_open`, whose own tensors stay mapped to it.

    A mapped tensor changes, or ends the process, when another program rewrites the file; Windows cannot replace the file.
    """
    return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary file in the same folder that becomes `target` if the block succeeds, and is removed if it fails.

    A symbolic link at `target` stays: the file that it leads to is written.
    """
    check_output(check_names(target))
    with _temporary_folder(target) as folder:
        temporary = folder / f"new{target.suffix}"
        try:
            yield temporary
            _publish(temporary, target)
        except (OSError, SafetensorError) as error:
            # The message of an OSError names the temporary file, which is removed.
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            raise UserError(f"Cannot write {target}: {reason}. Nothing was left there.") from error


def check_writable(target: Path) -> None:
    """Raises UserError if a file cannot be written there; leaves nothing behind. Called before long work.

    It takes every step of `atomic_path`, with a file of another name.
    """
    check_output(check_names(target))
    parent = _real(target).parent
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    try:
        with _temporary_folder(target) as folder:
            temporary, probe = folder / f"new{target.suffix}", folder.with_name(f"{folder.name}{PROBE}")
            try:
                temporary.write_bytes(bytes(PROBE_BYTES))
                _publish(temporary, probe)
            finally:
                probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"Cannot write to {target.parent}: {error.strerror}.") from error
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()


def flush_to_disk(file: IO[Any]) -> None:
    """fsync, where the drive has it: network and FUSE drives may refuse it, although they write the file."""
    with _unless_unsupported():
        os.fsync(file.fileno())


@contextlib.contextmanager
def _temporary_folder(target: Path) -> Iterator[Path]:
    """A folder next to the target, whose own folder is made if it is missing."""
    parent = _real(target).parent
    with contextlib.ExitStack() as stack:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(temporary_folder(parent, target.stem))
        except OSError as error:
            raise UserError(f"Cannot write to {target.parent}: {error.strerror}.") from error
        yield folder


PROBE_BYTES = 64 * 1024
_UNSUPPORTED = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def _real(target: Path) -> Path:
    """Where a symbolic link leads; any other path as it is."""
    return Path(os.path.realpath(target)) if target.is_symlink() else target


def _publish(temporary: Path, target: Path) -> None:
    """Make the finished file readable for others, flush it to the disk, and give it its name."""
    with _unless_unsupported():
        temporary.chmod(0o644)
    with temporary.open("rb+") as file:
        flush_to_disk(file)
    temporary.replace(_real(target))


@contextlib.contextmanager
def _unless_unsupported() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
