"""What a training node shows while it runs, and what it keeps when the user cancels."""

import time

from torch import Tensor

from t2vu_core.training.loop import StopEarly
from t2vu_core.training.progress import Stage, TrainProgress

from . import comfy_bridge

MIN_SECONDS = 2.0
"""The time left is shown once a stage has run for this long."""


class TrainingView:
    """A progress callback that shows every step under the node, and keeps the last picture of the stage `keep`.

    ComfyUI's cancel ends the training early: the node returns what was trained so far, then the run stops.
    """

    def __init__(self, node_id: str | None, keep: Stage) -> None:
        self.progress = comfy_bridge.Progress(node_id)
        self.kept: Tensor | None = None
        """Clips (B, F, 3, H, W) of the stage `keep`."""
        self._keep = keep
        self._cancelled = False
        self._trained = ""
        """The last training step, in words; empty before the first."""
        self._stage, self._first, self._began = "", 0, 0.0

    def __call__(self, done: TrainProgress) -> None:
        if done.stage == self._keep and done.preview is not None:
            self.kept = done.preview()
        if done.loss is not None:
            self._trained = f"step {done.step} of {done.total}"
        self.progress.say(self._line(done))
        try:
            self.progress.report(done.step, done.total, done.preview)
        except comfy_bridge.Cancelled:
            if not self._trained:
                raise
            self._cancelled = True
            raise StopEarly from None

    def close(self) -> None:
        """Let a cancel take effect: the nodes after this one do not run, and its output is kept for the next run."""
        if self._cancelled:
            self.progress.say(f"Cancelled at {self._trained}. What was trained is kept: queue again to continue with it.")
            comfy_bridge.cancel_the_rest()

    def _line(self, done: TrainProgress) -> str:
        loss = "" if done.loss is None else f", loss {done.loss:.4f}"
        note = f", {done.note}" if done.note else ""
        return f"{done.stage} {done.step}/{done.total}{loss}{note}{self._time_left(done)}"

    def _time_left(self, done: TrainProgress) -> str:
        now = time.monotonic()
        if done.stage != self._stage:
            self._stage, self._first, self._began = done.stage, done.step, now
        steps, seconds = done.step - self._first, now - self._began
        if steps < 1 or seconds < MIN_SECONDS or done.step >= done.total:
            return ""
        left = seconds / steps * (done.total - done.step)
        return f", {steps / seconds:.1f} per second, {_clock(left)} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
