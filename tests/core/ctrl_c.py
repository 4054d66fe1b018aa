"""Ctrl-C in tests, also where they run in the background of a shell, which lets no key reach them."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def ctrl_c_works() -> Iterator[None]:
    """Within, SIGINT interrupts this process, and the processes that it starts have it as a terminal gives it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
