"""Where a MODEL comes from: its name, and the folder with its own prompts."""

from pathlib import Path
from typing import Any

FOLDER = "t2vu_folder"


def remember_folder(model: Any, folder: Path) -> None:
    """Note on a MODEL, and on its clones, the folder of the bundled model whose weights it has."""
    model.set_attachments(FOLDER, str(folder))


def folder_of(model: Any) -> Path | None:
    """The folder that was noted on a MODEL."""
    folder = model.get_attachment(FOLDER)
    return None if folder is None else Path(folder)


def name_of(model: Any) -> str:
    """A name for erasure files: the folder's or the file's, if ComfyUI still knows it, or the class's."""
    folder = folder_of(model)
    if folder is not None:
        return folder.name
    initial: Any = getattr(model, "cached_patcher_init", None) or (None, ())
    for argument in initial[1]:
        if isinstance(argument, str) and argument.endswith((".safetensors", ".sft", ".gguf", ".ckpt", ".pt")):
            return Path(argument).stem
    return type(model.model).__name__
