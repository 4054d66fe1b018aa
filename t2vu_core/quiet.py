"""Silence around our own calls of libraries: a host such as ComfyUI keeps its log, and its settings."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

LIBRARIES = ("diffusers", "transformers")
LOADERS = ("diffusers.models.modeling_utils", "transformers.modeling_utils")
"""Loggers that say which weights a model's files lack."""


class _HoldBack(logging.Filter):
    """Lets no warning through, and keeps it for who asked for silence in the thread that it comes from."""

    def __init__(self) -> None:
        super().__init__()
        self._own = threading.local()

    def listening(self) -> list[list[str]]:
        """Of this thread: one list for each silence that it is in."""
        if not hasattr(self._own, "lists"):
            self._own.lists = []
        lists: list[list[str]] = self._own.lists
        return lists

    def filter(self, record: logging.LogRecord) -> bool:
        for held in self.listening():
            held.append(record.getMessage())
        return record.levelno >= logging.ERROR


_hold_back = _HoldBack()


class _Silence:
    """What the libraries were set to; threads that are silent at the same time share it, and the last one puts it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = contextlib.ExitStack()

    def begin(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            for logger in map(logging.getLogger, LIBRARIES):
                self._before.callback(logger.setLevel, logger.level)
                logger.setLevel(max(logger.level, logging.ERROR))
            for logger in map(logging.getLogger, LOADERS):
                self._before.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.WARNING)
                self._before.callback(logger.removeFilter, _hold_back)
                logger.addFilter(_hold_back)
            for library in (diffusers_logging, transformers_logging):
                if library.is_progress_bar_enabled():
                    self._before.callback(library.enable_progress_bar)
                    library.disable_progress_bar()

    def end(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._before.close()


_silence = _Silence()


@contextlib.contextmanager
def quiet_libraries() -> Iterator[list[str]]:
    """Within, diffusers and transformers draw no loading bars and log errors only; afterwards they do as before.

    Gives what this thread's loaders would have warned of. Also a decorator.
    """
    _silence.begin()
    held: list[str] = []
    _hold_back.listening().append(held)
    try:
        yield held
    finally:
        _hold_back.listening().pop()
        _silence.end()
