"""A training run that lasts a number of seconds: one CUDA graph a step where that works, log, average and state file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from t2vu_core.miniature_build.ltx.optimizer import MuonAdam, trapezoid

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOGS = 5.0
SECONDS_BETWEEN_STATES = 60.0
STEPS_BETWEEN_CLOCKS = 10
"""The host runs ahead of a GPU: only every so many steps it waits and reads the clock."""
WARM_UP_STEPS = 3


class TimedRun:
    """Runs `compute_loss()` and an optimizer step until `seconds` are spent, then puts the averaged weights in place.

    `compute_loss` must draw its data and noise on the device, from PyTorch's default generator, and may not wait for
    the device: on CUDA with `graph` the step is captured once and replayed. A state file that is there is taken up;
    each time it is written, `on_state()` is called with the averaged weights in place. `on_step(done)` is called before every
    step with the share of the time that is spent.
    """

    def __init__(
        self,
        name: str,
        compute_loss: Callable[[], Tensor],
        optimizer: MuonAdam,
        *,
        seconds: float,
        average_decay: float = 0.999,
        state: Path | None = None,
        graph: bool = False,
        on_state: Callable[[], None] | None = None,
        on_step: Callable[[float], object] = lambda done: None,
    ) -> None:
        self.name, self.compute_loss, self.optimizer, self.seconds, self.state = name, compute_loss, optimizer, seconds, state
        self.parameters = optimizer.parameters
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.average_decay, device = average_decay, self.parameters[0].device
        self.on_state, self.on_step = on_state, on_step
        self.loss_sum = torch.zeros((), device=device)
        self.step, self.spent = 0, 0.0
        self.cuda = device.type == "cuda"
        self.graph = graph and self.cuda
        if state is not None and state.is_file():
            self._load(state)

    def run(self) -> None:
        """Train; the weights left behind are the moving average."""
        start, before = time.monotonic(), self.spent
        logged_at, logged_step, saved_at = before, self.step, before
        advance: Callable[[], object] = self._one_step
        first = self.step
        while self.spent < self.seconds:
            self.optimizer.factor.fill_(trapezoid(self.step, self.spent / self.seconds))
            self.on_step(self.spent / self.seconds)
            if self.graph and self.step == first + WARM_UP_STEPS:
                advance = captured(self._one_step)
            advance()
            self.step += 1
            if self.cuda and self.step % STEPS_BETWEEN_CLOCKS:
                continue
            self._wait()
            self.spent = before + time.monotonic() - start
            if self.spent >= logged_at + SECONDS_BETWEEN_LOGS or self.spent >= self.seconds:
                self._log(self.step - logged_step, self.spent - logged_at)
                logged_at, logged_step = self.spent, self.step
            if self.state is not None and self.spent >= saved_at + SECONDS_BETWEEN_STATES:
                saved_at = self.spent
                self._save(self.state)
                self._report()
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self.average)

    def _one_step(self) -> None:
        loss = self.compute_loss()
        self.optimizer.step(loss)
        with torch.no_grad():
            steps = self.optimizer.steps
            decay = ((1 + steps) / (10 + steps)).clamp(max=self.average_decay)
            difference = torch._foreach_sub(self.parameters, self.average)
            torch._foreach_mul_(difference, 1 - decay)
            torch._foreach_add_(self.average, difference)
            self.loss_sum += loss.detach()

    def _wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def _log(self, steps: int, seconds: float) -> None:
        mean = self.loss_sum.item() / max(1, steps)
        self.loss_sum.zero_()
        pace = 1000 * seconds / max(1, steps)
        log.info("%s step %d: loss %.4f, %.0f s, %.1f ms a step", self.name, self.step, mean, self.spent, pace)

    def _tensors(self) -> dict[str, Tensor]:
        named = {f"parameter.{index}": value.detach() for index, value in enumerate(self.parameters)}
        named |= {f"average.{index}": value for index, value in enumerate(self.average)}
        return named | {f"optimizer.{name}": value for name, value in self.optimizer.state().items()}

    def _save(self, path: Path) -> None:
        values = {name: value.contiguous().cpu().clone() for name, value in self._tensors().items()}
        temporary = path.with_suffix(".partial")
        save_file(values, str(temporary), metadata={"step": str(self.step), "spent": f"{self.spent:.3f}"})
        temporary.replace(path)

    @torch.no_grad()
    def _report(self) -> None:
        """Call `on_state` while the averaged weights are in place."""
        if self.on_state is None:
            return
        live = [parameter.detach().clone() for parameter in self.parameters]
        torch._foreach_copy_(self.parameters, self.average)
        self.on_state()
        torch._foreach_copy_(self.parameters, live)

    @torch.no_grad()
    def _load(self, path: Path) -> None:
        stored = load_file(str(path))
        for name, value in self._tensors().items():
            value.copy_(stored[name])
        with safe_open(str(path), "pt") as opened:
            metadata = opened.metadata()
        self.step, self.spent = int(metadata["step"]), float(metadata["spent"])
        log.info("%s goes on from step %d, %.0f s", self.name, self.step, self.spent)


def captured(step: Callable[[], object]) -> Callable[[], object]:
    """Record a step, which ran before at least once, as a CUDA graph; calling the result repeats it."""
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def trainable(*modules: nn.Module) -> None:
    """Put modules into training mode with gradients."""
    for module in modules:
        module.train().requires_grad_(True)
