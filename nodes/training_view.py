"""What a training node shows while it works, and what a cancel leaves of it."""

import time

from t2vu_core.training.loop import StopEarly
from t2vu_core.training.progress import TrainProgress

from . import comfy_bridge

MIN_SECONDS = 2.0
"""A rate is told when it has been seen for so long."""


class TrainingView:
    """A callback that says and reports every step under the node.

    ComfyUI's cancel ends a training early and keeps it: the node gives what was trained so far, then the run stops.
    """

    def __init__(self, node_id: str | None) -> None:
        self.progress = comfy_bridge.Progress(node_id)
        self.cancelled = ""
        """Where the user cancelled, in words; empty where nobody did."""
        self._trained = ""
        """How far the training is, in words; empty before its first step."""
        self._stage, self._first, self._began = "", 0, 0.0

    def __call__(self, done: TrainProgress) -> None:
        if done.loss is not None:
            self._trained = f"step {done.step} of {done.total}"
        loss = "" if done.loss is None else f", loss {done.loss:.4f}"
        note = f", {done.note}" if done.note else ""
        self.progress.say(f"{done.stage} {done.step}/{done.total}{loss}{note}{self._time_left(done)}")
        try:
            self.progress.report(done.step, done.total, done.preview)
        except comfy_bridge.Cancelled:
            if not self._trained:
                raise
            self.cancelled = self._trained
            raise StopEarly from None

    def close(self) -> None:
        """Let a cancel take effect: nothing behind this node runs, and its own result is kept for the next run."""
        if self.cancelled:
            self.progress.say(f"Cancelled at {self.cancelled}. What was trained is kept: queue again to go on with it.")
            comfy_bridge.cancel_the_rest()

    def _time_left(self, done: TrainProgress) -> str:
        now = time.monotonic()
        if done.stage != self._stage:
            self._stage, self._first, self._began = done.stage, done.step, now
        steps, seconds = done.step - self._first, now - self._began
        if steps < 1 or seconds < MIN_SECONDS or done.step >= done.total:
            return ""
        left = seconds / steps * (done.total - done.step)
        return f", {steps / seconds:.1f} a second, {_clock(left)} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
