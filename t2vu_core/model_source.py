"""Where a model is: a diffusers folder, or single files for its denoisers with a folder for everything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from t2vu_core.errors import UserError
from t2vu_core.input_files import check_regular, read_bounded

SUFFIXES = (".safetensors", ".gguf")
INDEX = "model_index.json"
FIRST, SECOND = "transformer", "transformer_2"
"""The denoisers of a pipeline by component name; the second one is for low noise (Wan 2.2 A14B)."""


@dataclass(frozen=True)
class ModelSource:
    """A diffusers folder, and the files that stand in for the weights of its denoisers."""

    folder: Path
    files: Mapping[str, Path] = field(default_factory=dict)
    """Single files by component name."""

    @property
    def name(self) -> str:
        """The file's name without its suffix, or the folder's."""
        return next((file.stem for file in self.files.values()), self.folder.name)

    @property
    def is_gguf(self) -> bool:
        """Whether a denoiser is in a GGUF file."""
        return any(file.suffix.lower() == ".gguf" for file in self.files.values())

    @classmethod
    def of(cls, source: Path, config: Path | None = None, low_noise: Path | None = None) -> ModelSource:
        """`source` is a folder, or the file of the denoiser; then `config` is the folder of the other components.

        Without `config`, the file must be in a diffusers folder. `low_noise` is the file of the second denoiser.
        Raises UserError if something is missing.
        """
        if not source.is_file():
            if config is not None or low_noise is not None:
                raise UserError(
                    f"config and model_low_noise belong to a model in a single file, and {source} is none. Give that file as "
                    "the model."
                )
            return cls(source)
        files = {FIRST: source} | ({} if low_noise is None else {SECOND: low_noise})
        for file in files.values():
            _check_file(file)
        folder = _around(source) if config is None else config
        if folder is None or not (folder / INDEX).is_file():
            lacking = "" if folder is None else f", and {folder} has no {INDEX}"
            raise UserError(
                f"{source} is a single file, which holds the denoiser only{lacking}. Give a diffusers folder of the same model "
                f"as config (--config DIR), with the text encoder, VAE, scheduler and {FIRST}/config.json."
            )
        _check_second(folder, files)
        return cls(folder, files)


def _check_file(file: Path) -> None:
    if file.suffix.lower() not in SUFFIXES:
        raise UserError(f"{file} cannot be loaded as a model: single files must be .safetensors or .gguf.")
    check_regular(file, f"{file} cannot be loaded as a model")


def _around(file: Path) -> Path | None:
    """The diffusers folder that a file lies in, directly or in a component's folder."""
    return next((folder for folder in file.absolute().parents[:2] if (folder / INDEX).is_file()), None)


def _check_second(folder: Path, files: Mapping[str, Path]) -> None:
    """Whether the number of files is that of the folder's denoisers."""
    try:
        entry = json.loads(read_bounded(folder / INDEX, f"{folder} is not a diffusers model")).get(SECOND)
    except (ValueError, AttributeError, RecursionError):
        return
    has_second = isinstance(entry, list) and bool(entry) and entry[0] is not None
    if SECOND in files and not has_second:
        raise UserError(f"The model in {folder} has one denoiser: leave model_low_noise out.")
    if has_second and SECOND not in files and not any((folder / SECOND).glob("*.safetensors")):
        raise UserError(
            f"The model in {folder} has two denoisers, and the weights of the second one are not there: give its file as "
            "model_low_noise (--model-low-noise FILE)."
        )
