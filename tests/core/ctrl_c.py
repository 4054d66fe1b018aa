"""Ctrl-C in tests, also where they run in the background of a shell, which lets no key reach them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def ctrl_c_works() -> Iterator[None]:
    """Within, SIGINT interrupts this process, and the processes that it starts have it as a terminal gives it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def press_ctrl_c_when(happened: Callable[[], bool]) -> None:
    """Interrupt this process, once, as soon as that has happened."""

    def press() -> None:
        while not happened():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
