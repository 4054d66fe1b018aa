"""The folders in which training runs keep their state by themselves until they have made all their steps."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open

from t2vu_core import __version__
from t2vu_core.folder_lock import in_use
from t2vu_core.training.progress import ProgressCallback, TrainProgress

log = logging.getLogger(__name__)

STATE = "state.safetensors"
KEPT = 3
"""Unfinished runs of this version whose folders are kept; when another starts, the least recently written one is removed."""
OWN_NAME = 16
"""Characters of a run's fingerprint that name its own folder."""


def own_folder(unfinished: Path, fingerprint: str) -> Path:
    """The folder of a run in `unfinished`, where now at most KEPT runs of this version have one. Others' states are kept."""
    own = unfinished / fingerprint[:OWN_NAME]
    others = [path for path in _folders(unfinished) if path != own and not in_use(path) and not _is_of_another_version(path)]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
    return own


def tell_of_older_runs(own: Path, about: str, on_progress: ProgressCallback | None) -> None:
    """Say, once, that another version left runs unfinished next to this one, if this one has no state to go on with.

    Of states that name what they are about, only those about the same count; those of 0.1 name nothing.
    """
    if (own / STATE).exists():
        return
    older = [path for path in _folders(own.parent) if path != own and _is_of_another_version(path, about)]
    if not older:
        return
    newest = max(older, key=lambda path: path.stat().st_mtime)
    message = (
        f"This training starts from the beginning: another version of T2V Unlearning left one unfinished in {newest}, which "
        f"version {__version__} cannot go on with. It is kept: finish it with that version, or delete the folder."
    )
    log.warning(message)
    if on_progress is not None:
        on_progress(TrainProgress("prompts", 0, 1, notice=message))


def _folders(unfinished: Path) -> list[Path]:
    return [path for path in unfinished.glob("[0-9a-f]" * OWN_NAME) if path.is_dir()]


def _is_of_another_version(folder: Path, about: str | None = None) -> bool:
    """Whether a folder has the state of another version, about `about` or about nothing that it names."""
    try:
        with safe_open(str(folder / STATE), framework="pt") as file:
            facts = file.metadata() or {}
    except (SafetensorError, OSError):
        return False
    return facts.get("version") != __version__ and about in (None, facts.get("about", about))
