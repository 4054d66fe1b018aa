"""Run inside ComfyUI's folder: what ComfyUI's log says that it left out of a LoRA file."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

SAID_OF_A_KEY = ("lora key not loaded", "NOT LOADED")


class _Leftovers(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if any(words in record.getMessage() for words in SAID_OF_A_KEY):
            self.keys.append(record.getMessage())


@contextlib.contextmanager
def leftovers() -> Iterator[list[str]]:
    """Collects, within, the keys that ComfyUI says nothing took."""
    collector = _Leftovers()
    logging.getLogger().addHandler(collector)
    try:
        yield collector.keys
    finally:
        logging.getLogger().removeHandler(collector)
