"""Silence around our own calls of libraries: a host such as ComfyUI keeps its log, and its settings."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

LIBRARIES = ("diffusers", "transformers")


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within, diffusers and transformers draw no loading bars and log errors only; afterwards they do as before.

    Also a decorator.
    """
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    levels = [logger.level for logger in loggers]
    drawing = [library for library in (diffusers_logging, transformers_logging) if library.is_progress_bar_enabled()]
    try:
        for logger in loggers:
            logger.setLevel(max(logger.level, logging.ERROR))
        for library in drawing:
            library.disable_progress_bar()
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for library in drawing:
            library.enable_progress_bar()
