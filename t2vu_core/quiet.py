"""Keeps diffusers and transformers quiet during our own calls, without changing the settings of a host such as ComfyUI."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from t2vu_core.errors import panics_refused

LIBRARIES = ("diffusers", "transformers")
LOADERS = ("diffusers.models.modeling_utils", "transformers.modeling_utils")
"""Loggers that report missing weights."""


class _HoldBack(logging.Filter):
    """Holds back warnings, and collects them for the callers of `quiet_libraries` in the same thread."""

    def __init__(self) -> None:
        super().__init__()
        self._own = threading.local()

    def listening(self) -> list[list[str]]:
        """This thread's lists, one per active `quiet_libraries` context."""
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
    """The libraries' previous settings, shared by all threads in the context; the last one to leave restores them."""

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
    """Inside this context, diffusers and transformers show no loading bars and log errors only.

    Yields the warnings that this thread's loaders would have logged. A panic of their compiled code raises UserError. Can
    be used as a decorator.
    """
    _silence.begin()
    held: list[str] = []
    _hold_back.listening().append(held)
    try:
        with panics_refused():
            yield held
    finally:
        _hold_back.listening().pop()
        _silence.end()
