"""A node's progress bar, text and preview, and ComfyUI's cancel button."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator

import comfy.model_management
import comfy.utils
import torch
from server import PromptServer
from torch import Tensor

from t2vu_core.training.loop import Pause

from ..pictures import preview_picture

PREVIEW_SECONDS = 0.7
"""Minimum time between two previews."""
PREVIEW_SHARE = 0.1
"""Maximum share of a node's time that is spent on previews."""

KEPT_TEXT = "t2v-unlearning.text"
"""The event of the websocket that web/js/words.js draws."""

Cancelled = comfy.model_management.InterruptProcessingException
"""What `Progress.report` raises once the user has cancelled."""


class Paused(Pause, comfy.model_management.InterruptProcessingException):
    """A cancel of a training run: it pauses the run, then ends the node as every cancel does."""


_inside_a_pass = threading.Event()


@contextlib.contextmanager
def pausing() -> Iterator[None]:
    """Inside this context, a cancel pauses the training run, if gradients are enabled.

    Every layer of ComfyUI's looks for a cancel and takes it. If the run's state cannot be saved, the node passes the cancel on
    when it has its result.
    """
    try:
        yield
    except Cancelled:
        if not torch.is_grad_enabled():
            raise
        _inside_a_pass.set()
        raise Paused from None


def take_cancel() -> bool:
    """Whether a cancel was noted since the last call."""
    found = _inside_a_pass.is_set()
    _inside_a_pass.clear()
    return found


def cancel_the_rest() -> None:
    """Stop the run before the next node; the output of the current node stays in ComfyUI's cache."""
    comfy.model_management.interrupt_current_processing()


class Progress:
    """A node's progress bar, text and preview. A cancel takes effect at every report."""

    def __init__(self, node_id: str | None) -> None:
        self._node_id = node_id
        self._bar = comfy.utils.ProgressBar(1)
        self._started = time.monotonic()
        self._previewed = -math.inf
        self._spent = 0.0

    def report(self, step: int, total: int, preview: Callable[[], Tensor] | None = None) -> None:
        """Show that `step` of `total` is done. Raises `Cancelled` if the user has cancelled."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        picture = ("JPEG", self._picture(preview), None) if preview and self._preview_is_due() else None
        self._bar.update_absolute(step, total, picture)

    def show(self, picture: Callable[[], Tensor]) -> None:
        """Show a finished clip: whatever preview is there is one of noise, and would stay."""
        self._bar.update_absolute(self._bar.current, self._bar.total, ("JPEG", self._picture(picture), None))

    def say(self, text: str) -> None:
        """Show a line of text under the node until the run ends."""
        if self._node_id is not None:
            PromptServer.instance.send_progress_text(text, self._node_id)

    def keep(self, text: str) -> None:
        """Show a text on the node that stays there, from a node that gives no output."""
        if self._node_id is not None:
            self.say(text)
            PromptServer.instance.send_sync(KEPT_TEXT, {"node": self._node_id, "text": text})

    def _preview_is_due(self) -> bool:
        """A preview costs a decode, which is expensive in a large model."""
        now = time.monotonic()
        return now - self._previewed >= PREVIEW_SECONDS and self._spent <= PREVIEW_SHARE * (now - self._started)

    def _picture(self, preview: Callable[[], Tensor]) -> object:
        begin = time.monotonic()
        picture = preview_picture(preview())
        self._previewed = time.monotonic()
        self._spent += self._previewed - begin
        return picture
