"""The files that nodes read and write: erasures, LoRAs, evaluations and the state of unfinished training runs."""

import os
from collections.abc import Sequence
from pathlib import Path

import folder_paths

from t2vu_core import Erasure, UserError
from t2vu_core.file_names import cut_to_bytes, num_bytes

from .folders import ERASURES, SUFFIX

LORAS = "loras"
LORA_FOLDERS = ("models/loras", "output/loras")
MAX_NAME_BYTES = 160
"""Of a name that is made of words. Drives take 255 bytes; this leaves room for a number and an ending."""
MAX_GIVEN_BYTES = 220
"""Of a name that a user gives."""


def erasure_names() -> list[str]:
    """The erasure files by the names under which Load Erasure offers them."""
    return list(folder_paths.get_filename_list(ERASURES))


def erasure_file(name: str) -> Path:
    """The path of an offered erasure. Raises UserError for any other name, such as a path outside the folders."""
    path = folder_paths.get_full_path(ERASURES, name) if name in erasure_names() else None
    if path is None:
        raise UserError(f"There is no erasure {name!r} in output/{ERASURES} or models/{ERASURES}; press R to list new files.")
    return Path(path)


def erasure_name(path: Path) -> str:
    """The name under which Load Erasure offers a file that was saved to output/erasures."""
    root = os.path.realpath(os.path.join(folder_paths.get_output_directory(), ERASURES))
    return os.path.relpath(os.path.realpath(path), root)


def evaluation_folder(concept: str) -> Path:
    """The folder in output/evaluations for a concept; characters other than letters and digits become underscores."""
    plain = "".join(letter if letter.isalnum() else "_" for letter in concept.strip())[:80] or "_"
    return Path(folder_paths.get_output_directory()) / "evaluations" / cut_to_bytes(plain, MAX_NAME_BYTES)


def temporary_folder() -> Path:
    """ComfyUI's folder of files that are shown and not kept."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def unfinished_runs() -> Path:
    """Where training runs keep their state until they end, so that they resume after the server was killed."""
    return Path(folder_paths.get_output_directory()) / "unfinished_trainings"


def new_erasure_file(name: str, *, overwrite: bool) -> Path:
    """The path for a new erasure in output/erasures; a number is added to a name that is taken.

    Raises UserError for a name that is empty, absolute, or leads outside that folder.
    """
    return _new_file(os.path.join(folder_paths.get_output_directory(), ERASURES), f"output/{ERASURES}", name, overwrite)


def new_lora_file(folder: str, name: str, *, overwrite: bool, endings: Sequence[str] = ("",)) -> Path:
    """The path for an exported LoRA in one of LORA_FOLDERS; see `new_erasure_file`.

    `endings` are appended to `name` where a LoRA has several files; none of those files exists yet.
    """
    return _new_file(_lora_root(folder), folder, name, overwrite, endings)


def lora_name(folder: str, path: Path) -> str:
    """The name under which Load LoRA offers a file that was saved to that folder."""
    return os.path.relpath(os.path.realpath(path), os.path.realpath(_lora_root(folder)))


def _lora_root(folder: str) -> str:
    if folder not in LORA_FOLDERS:
        raise UserError(f"LoRA files are not written to {folder!r}; choose one of {', '.join(LORA_FOLDERS)}.")
    if folder == LORA_FOLDERS[0]:
        return str(folder_paths.get_folder_paths(LORAS)[0])
    return os.path.join(folder_paths.get_output_directory(), LORAS)


def _new_file(root: str, shown: str, name: str, overwrite: bool, endings: Sequence[str] = ("",)) -> Path:
    root = os.path.realpath(root)
    stem = name.strip().removesuffix(SUFFIX)
    if not stem or "\0" in stem or stem.endswith(("/", "\\")) or os.path.basename(stem).startswith("."):
        raise UserError(f"{name!r} cannot be the name of a file; give a name such as ghost or styles/noir.")
    if any(num_bytes(part) > MAX_GIVEN_BYTES for part in Path(stem).parts):
        raise UserError(f"{name[:30]!r}... is too long for the name of a file: at most {MAX_GIVEN_BYTES} bytes are possible.")
    path = os.path.realpath(os.path.join(root, stem + SUFFIX))
    if not Path(path).is_relative_to(root):
        raise UserError(f"{name!r} leads outside {shown}; give a name such as ghost or styles/noir.")
    number = 2
    while not overwrite and any(os.path.exists(path.removesuffix(SUFFIX) + ending + SUFFIX) for ending in endings):
        path, number = os.path.join(os.path.dirname(path), f"{os.path.basename(stem)}_{number}{SUFFIX}"), number + 1
    return Path(path)


def default_name(erasure: Erasure) -> str:
    """A file name made of the concepts: other characters become underscores, and long names are cut."""
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in "-".join(erasure.concepts))
    return cut_to_bytes(plain[:80], MAX_NAME_BYTES)
