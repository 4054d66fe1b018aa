"""How many threads torch computes with, where other processes use the same cores.

The threads of an operation wait for each other at its end. If another process holds the core of one of them, all wait for
its time slice, some thousand times in a step: two threads on two busy cores are many times slower than one.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

log = logging.getLogger(__name__)

SET_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
SECONDS = 0.25
"""How long the use of the cores is measured."""
STAT, QUOTA = Path("/proc/stat"), Path("/sys/fs/cgroup/cpu.max")


@contextlib.contextmanager
def free_threads() -> Iterator[None]:
    """Inside this context, torch uses only as many threads as there are free cores; afterwards as many as before.

    A number that the user has set stays: in the environment, or by `torch.set_num_threads`.
    """
    before = torch.get_num_threads()
    cores = usable_cores()
    if before > 1 and before in (cores, -(-cores // 2)) and not any(name in os.environ for name in SET_BY_USER):
        free = max(1, min(before, cores_free(cores)))
        if free < before:
            log.info("%d of %d threads are used: other processes use the other cores.", free, before)
        torch.set_num_threads(free)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def usable_cores() -> int:
    """The cores on which this process may run."""
    return len(_own_cores()) or os.cpu_count() or 1


def cores_free(cores: int) -> int:
    """How many of them other processes leave, and a container's quota allows; all of them where that is not known."""
    limit = min(cores, _quota())
    start, before = time.monotonic(), _busy_seconds()
    own = time.process_time()
    if before is None:
        return limit
    time.sleep(SECONDS)
    after, own = _busy_seconds(), time.process_time() - own
    if after is None:
        return limit
    others = (after - before - own) / (time.monotonic() - start)
    return min(limit, cores - round(max(0.0, others)))


def _own_cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _busy_seconds() -> float | None:
    """Seconds that this process's cores have computed since the start of the machine; None where it does not tell."""
    try:
        lines = [line.split() for line in STAT.read_text(encoding="ascii").splitlines()]
        times = {line[0]: [int(field) for field in line[1:]] for line in lines if line and line[0].startswith("cpu")}
        # user, nice, system, idle, iowait, irq, softirq, steal
        busy = sum(sum(times[f"cpu{core}"][:8]) - sum(times[f"cpu{core}"][3:5]) for core in _own_cores())
        return busy / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, LookupError, AttributeError):
        return None


def _quota() -> int:
    """Cores that the container's quota is worth, rounded up."""
    try:
        quota, period = QUOTA.read_text(encoding="ascii").split()
        return max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        return os.cpu_count() or 1


def keep_threads(metadata: Mapping[str, str]) -> None:
    """Compute with as many threads as a saved state did: sums in another order would differ in their last bits."""
    with contextlib.suppress(ValueError):
        if (threads := int(metadata.get("threads", "0"))) > 0:
            torch.set_num_threads(min(threads, 4 * usable_cores()))
