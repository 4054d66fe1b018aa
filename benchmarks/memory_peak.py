"""The most memory that a piece of work takes, above what was in use before it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

PROCESS = Path("/proc/self")
MIB = 2**20


@dataclass
class Peak:
    """MiB above what was in use at the start; None where the system does not tell, or before the end."""

    mib: float | None = None


@contextlib.contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Inside this context memory is watched: a GPU's own, or the process's resident memory on Linux."""
    peak = Peak()
    before = _start(device)
    yield peak
    after = _highest(device)
    if before is not None and after is not None:
        peak.mib = round(max(0, after - before) / MIB, 1)


def _start(device: torch.device) -> int | None:
    """Bytes in use; the peak is forgotten, and memory that work before has freed is given back to the system first."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        # "5" resets the peak of the resident memory (proc(5)).
        (PROCESS / "clear_refs").write_text("5")
    except OSError:
        return None
    return _resident("VmRSS")


def _highest(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident("VmHWM")


def _resident(name: str) -> int | None:
    try:
        found = re.search(rf"{name}:\s+(\d+) kB", (PROCESS / "status").read_text())
    except OSError:
        return None
    return None if found is None else 1024 * int(found[1])
