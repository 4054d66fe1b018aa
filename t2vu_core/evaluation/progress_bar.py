"""The progress of an evaluation in a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from tqdm import tqdm

from t2vu_core.evaluation.settings import EvaluationCallback, EvaluationProgress
from t2vu_core.formatting import duration


@contextlib.contextmanager
def evaluation_bar() -> Iterator[EvaluationCallback]:
    """A progress bar per stage on stderr; the expected duration is printed as soon as it is known."""
    bars: dict[str, tqdm] = {}

    def on_progress(progress: EvaluationProgress) -> None:
        if progress.seconds_in_all:
            tqdm.write(f"All stages: at most about {duration(progress.seconds_in_all)} here.", file=sys.stderr)
        if progress.stage not in bars:
            if progress.seconds_left:
                tqdm.write(f"{progress.stage}: about {duration(progress.seconds_left)} here.", file=sys.stderr)
            bars[progress.stage] = tqdm(total=progress.total, desc=progress.stage)
        bars[progress.stage].update(progress.step - bars[progress.stage].n)

    try:
        yield on_progress
    finally:
        for bar in bars.values():
            bar.close()
