"""Silence around our own calls of libraries: a host such as ComfyUI keeps its log, and its settings."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

LIBRARIES = ("diffusers", "transformers")


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
def quiet_libraries() -> Iterator[None]:
    """Within, diffusers and transformers draw no loading bars and log errors only; afterwards they do as before.

    Also a decorator.
    """
    _silence.begin()
    try:
        yield
    finally:
        _silence.end()
