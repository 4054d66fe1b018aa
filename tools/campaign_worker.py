"""Runs many `t2vu` commands in a few processes, each with a limit of time and memory, and says how each ended.

The processes are forks of this one, which has imported everything and computed nothing, so that a new one takes no time.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Literal

import torch

from t2vu_core.cli import main

Ending = Literal["crash", "hang", "traceback", "exit 1", "sentence", "accepted"]
ENDINGS: tuple[Ending, ...] = ("crash", "hang", "traceback", "exit 1", "sentence", "accepted")
FAULTS: tuple[Ending, ...] = ("crash", "hang", "traceback", "exit 1")
MEMORY = 12 * 2**30
"""Bytes of address space for a process; torch alone reserves some."""
COMMANDS_A_PROCESS = 150


@dataclass(frozen=True)
class Job:
    """One input: the reader that it is for, and the command that reads it."""

    reader: str
    name: str
    arguments: tuple[str, ...]
    accepted: str = ""
    """Part of a refusal that comes after the input was read; a command that is cheap ends with it on purpose."""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote to standard error."""

    job: Job
    ending: Ending
    said: str
    seconds: float


def run_jobs(jobs: Sequence[Job], *, processes: int, limit: float) -> Iterator[Ended]:
    """Run the commands, `processes` at a time, each for at most `limit` seconds; gives them as they end."""
    # Threads of the parent would not be there in a fork.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    waiting = list(reversed(jobs))
    workers = [_Worker() for _ in range(min(processes, len(jobs)))]
    try:
        while waiting or any(worker.job for worker in workers):
            for worker in workers:
                if worker.job is None and waiting:
                    worker.give(waiting.pop())
            ready = wait([worker.pipe for worker in workers if worker.job], timeout=0.5)
            for worker in workers:
                if worker.job and (worker.pipe in ready or worker.overdue(limit)):
                    yield worker.take(worker.pipe in ready)
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process that runs commands one after the other; a new one where the last one died."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()
        self._served = 0

    def give(self, job: Job) -> None:
        """Start the command."""
        if self._served >= COMMANDS_A_PROCESS or not self._process.is_alive():
            self.end()
            self._start()
        self.pipe.send(job.arguments)
        self.job, self._served, self._since = job, self._served + 1, time.monotonic()

    def overdue(self, limit: float) -> bool:
        """Whether the command has had its time."""
        return time.monotonic() - self._since > limit

    def take(self, answered: bool) -> Ended:
        """How the command ended; a process that did not answer is ended with it."""
        job, seconds = self.job, time.monotonic() - self._since
        assert job is not None
        self.job = None
        if answered:
            try:
                code, said = self.pipe.recv()
                return Ended(job, _ending(code, said, job), said, seconds)
            except (EOFError, OSError):
                self.end()
                said = f"the process ended with {self._process.exitcode}"
                self._start()
                return Ended(job, "crash", said, seconds)
        self.end()
        self._start()
        return Ended(job, "hang", "", seconds)

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _ending(code: int, said: str, job: Job) -> Ending:
    told = [line for line in said.splitlines() if line.startswith("t2vu: ")]
    if "Traceback (most recent call last)" in said:
        return "traceback"
    if code == 0 or (job.accepted and any(job.accepted in line for line in told)):
        return "accepted"
    if code == 2 and told:
        return "sentence"
    return "exit 1"


def _serve(pipe: Connection) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # PyTorch replaces its pool of threads at the first use after a fork, which fails if two threads use it at once.
    torch.set_num_threads(1)
    while True:
        pipe.send(_run(pipe.recv()))


def _run(arguments: Sequence[str]) -> tuple[int, str]:
    """The exit code and standard error of a command, with the end of its traceback where it ended with one."""
    errors, out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, errors
    try:
        code = main(list(arguments))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        code = 1
        errors.write(traceback.format_exc())
    finally:
        sys.stdout, sys.stderr = before
    errors.flush()
    buffer = errors.buffer
    assert isinstance(buffer, io.BytesIO)
    return code, buffer.getvalue().decode("utf-8", "replace")[-4000:]
