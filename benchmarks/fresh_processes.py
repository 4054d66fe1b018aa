"""Runs measurements in processes of their own, within a budget of seconds."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

OVERRUN = 8.0
"""Seconds that the last measurement may run past the budget."""


class Failed(RuntimeError):
    """A measurement ended without a result; the message is the last line of its error output."""


class FreshProcesses:
    """Calls a module with `--job`, which reads its job as JSON from standard input and prints the result as JSON.

    `ahead`: the next process imports its libraries while the present one measures. That saves time with a GPU, and would
    disturb a measurement of the CPU. `budget` and `timeout` are in seconds, of all measurements and of each one.
    """

    def __init__(self, module: str, *, ahead: bool, budget: float | None = None, timeout: float | None = None) -> None:
        self._module, self._ahead, self._timeout = module, ahead, timeout
        self._end = None if budget is None else time.monotonic() + budget
        self._next: subprocess.Popen[str] | None = None

    @property
    def spent(self) -> bool:
        """Whether no further measurement may start."""
        return self._end is not None and time.monotonic() >= self._end

    def __enter__(self) -> Self:
        if self._ahead:
            self._next = self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._next is not None:
            self._next.kill()
            self._next.communicate()

    def __call__(self, job: Any) -> dict[str, Any]:
        """The result of a job, a dataclass; raises Failed."""
        process = self._next or self._start()
        self._next = self._start() if self._ahead else None
        try:
            answer, errors = process.communicate(json.dumps(vars(job)), timeout=self._limit())
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Failed("It took too long.") from None
        if process.returncode:
            raise Failed((errors.strip().splitlines() or [f"It ended with code {process.returncode}."])[-1])
        result: dict[str, Any] = json.loads(answer.splitlines()[-1])
        return result

    def _limit(self) -> float | None:
        limits = [self._timeout, None if self._end is None else self._end + OVERRUN - time.monotonic()]
        return min((limit for limit in limits if limit is not None), default=None)

    def _start(self) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        folder = Path(__file__).resolve().parents[1]
        command = [sys.executable, "-m", self._module, "--job"]
        return subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
