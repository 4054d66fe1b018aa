"""Foreign files of tensors that torch pickled: read as tensors and plain containers, or refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from packaging.version import Version

from t2vu_core.errors import UserError, reading

SAFE_TORCH = Version("2.10")
"""The first PyTorch whose `torch.load(weights_only=True)` has no known way to run code."""


def load_tensors_only(path: Path) -> Any:
    """Load tensors and plain containers; anything else in the pickle is refused. Raises UserError with the reason."""
    if Version(torch.__version__) < SAFE_TORCH:
        raise UserError(f"Importing {path.name} needs PyTorch {SAFE_TORCH} or newer, whose loader runs no code; this is "
                        f"{torch.__version__}. Everything else works with it.")  # fmt: skip
    size = path.stat().st_size
    with reading(f"{path.name} is damaged and cannot be read"):
        if zipfile.is_zipfile(path) and _unpacked_size(path) > size:
            raise UserError(f"{path.name} unpacks to more than its own size; torch never writes such files.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise UserError(
            f"{path.name} holds more than tensors, or is damaged; such a file could run code and is not opened."
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or "it ends too early"
        raise UserError(f"{path.name} is damaged and cannot be read ({reason}).") from error


def _unpacked_size(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist())
