"""What a training node shows while it runs, and what it keeps when the user cancels."""

import time

from torch import Tensor

from t2vu_core import Erasure
from t2vu_core.training.progress import Stage, TrainProgress

from . import comfy_bridge

MIN_SECONDS = 2.0
"""The time left is shown once a stage has run for this long."""


class TrainingView:
    """A progress callback that shows every step under the node, and keeps the last picture of the stage `keep`.

    ComfyUI's cancel pauses the training: the next run of the graph goes on with it. Where the state cannot be saved, the
    node returns a partial result, and the nodes after it do not run.
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
        self._plan = self._notice = ""
        comfy_bridge.take_cancel()

    def __call__(self, done: TrainProgress) -> None:
        if done.stage == self._keep and done.preview is not None:
            self.kept = done.preview()
        if done.notice:
            self._notice = done.notice
        if done.loss is not None:
            self._trained = f"step {done.step} of {done.total}"
        self._say(self._line(done))
        try:
            self.progress.report(done.step, done.total, done.preview)
        except comfy_bridge.Cancelled:
            if not self._trained:
                raise
            self._cancelled = True
            self.progress.keep(f"Cancelled after {self._trained}. Run goes on with the training from there.")
            raise comfy_bridge.Paused from None

    def show_plan(self, *parts: str | None) -> None:
        """Show what the training is for under the node, now and below every step."""
        self._plan = "\n".join(filter(None, parts))
        self._say("")

    def _say(self, line: str) -> None:
        self.progress.say("\n".join(filter(None, (line, self._notice, self._plan))))

    def close(self, erasure: Erasure) -> str:
        """The words that stay on the node. Lets a cancel that could not pause the training take effect after the node."""
        self._cancelled |= comfy_bridge.take_cancel()
        words = "\n".join(filter(None, [self._outcome(erasure), erasure.training["warning"], self._notice]))
        if self._cancelled:
            comfy_bridge.cancel_the_rest()
        return words

    def _outcome(self, erasure: Erasure) -> str:
        if not erasure.partial:
            return f"Trained {erasure.training['steps']} steps in {_clock(erasure.training['seconds'])}."
        if not self._cancelled:
            return f"{erasure.partial[0].upper()}{erasure.partial[1:]}."
        return (
            f"Cancelled: {erasure.partial}. The state of the training could not be saved, so it cannot go on; "
            "change the seed to train again."
        )

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
