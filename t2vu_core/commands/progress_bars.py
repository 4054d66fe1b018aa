"""Progress bars on stderr, and Ctrl-C while a command trains."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from tqdm import tqdm

from t2vu_core.model import SampleStep
from t2vu_core.training.loop import StopEarly
from t2vu_core.training.progress import ProgressCallback, TrainProgress


def note(line: str) -> None:
    """A line on stderr, before or between progress bars."""
    tqdm.write(line, file=sys.stderr)


@contextlib.contextmanager
def sampling_bar() -> Iterator[Callable[[SampleStep], None]]:
    """A progress bar for `T2VModel.sample`."""
    with tqdm(unit="step", desc="sampling") as bar:

        def on_step(step: SampleStep) -> None:
            bar.total = step.total
            bar.update(step.step - bar.n)

        yield on_step


@contextlib.contextmanager
def training_bar() -> Iterator[ProgressCallback]:
    """Progress bars for a training run, one per stage."""
    bars: dict[str, tqdm] = {}

    def on_progress(progress: TrainProgress) -> None:
        if progress.stage not in bars:
            # The steps before a resume took no time in this run.
            bars[progress.stage] = tqdm(total=progress.total, desc=progress.stage, unit="step", initial=progress.step)
        bar = bars[progress.stage]
        bar.update(progress.step - bar.n)
        if progress.loss is not None:
            bar.set_postfix(loss=f"{progress.loss:.4f}")
        elif progress.note:
            bar.set_postfix_str(progress.note)

    try:
        yield on_progress
    finally:
        for bar in bars.values():
            bar.close()


@contextlib.contextmanager
def kept_on_interrupt(on_progress: ProgressCallback) -> Iterator[ProgressCallback]:
    """Inside, Ctrl-C stops the training at its next step and keeps the result; a second Ctrl-C ends the command.

    Before the first training step there is no result, and the first Ctrl-C ends the command.
    """
    asked = training = False

    def ask(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def report(progress: TrainProgress) -> None:
        nonlocal training
        training = training or progress.stage == "training"
        on_progress(progress)
        if asked:
            raise StopEarly if training else KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield on_progress
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield report
    finally:
        signal.signal(signal.SIGINT, before)
