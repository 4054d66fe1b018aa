"""How much longer a short training run takes while two other processes use the cores: at most 3 times is the aim.

`python -m benchmarks.busy_machine` runs `t2vu erase` on the miniature in turn with and without two processes that never
pause, with our settings and with those of torch alone. Only the ratio of times in one run means anything on a machine that
others use too, so the load before each run is printed with it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BUSY = 2
LOOP = "while True: pass"
SETTINGS = {
    "ours": {},
    # Both set by hand, as libgomp and torch would choose them: then ours are off.
    "torch's own": {"OMP_NUM_THREADS": str(os.cpu_count()), "GOMP_SPINCOUNT": "300000"},
}
RECIPE = {"concept_trajectories": 4, "preserve_trajectories": 4, "trajectory_steps": 4}


def main() -> None:
    """Print the seconds of each run and the ratios; with `--out`, write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10, help="training steps of a run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=600, help="seconds after which a run is given up")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    seconds: dict[str, dict[str, list[float]]] = {name: {"idle": [], "busy": []} for name in SETTINGS}
    for _ in range(options.rounds):
        for name, environment in SETTINGS.items():
            for state in ("idle", "busy"):
                load = os.getloadavg()[0]
                with busy_processes(BUSY if state == "busy" else 0):
                    took = training_seconds(options.steps, environment, options.limit)
                seconds[name][state].append(took)
                print(f"{name:12} {state}: {took:7.1f} s  (load before: {load:.1f})", flush=True)
    result = {name: ratio_of(times) for name, times in seconds.items()}
    for name, facts in result.items():
        print(f"{name:12} busy / idle: {facts['ratio']:.2f} (medians {facts['busy']:.1f} s and {facts['idle']:.1f} s)")
    if options.out:
        options.out.write_text(json.dumps({"seconds": seconds, "result": result}, indent=1), encoding="utf-8")


def ratio_of(times: dict[str, list[float]]) -> dict[str, float]:
    """Medians of both states, and their ratio."""
    idle, busy = (statistics.median(times[state]) for state in ("idle", "busy"))
    return {"idle": idle, "busy": busy, "ratio": busy / idle}


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Inside this context, that many processes compute without a pause."""
    processes = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def training_seconds(steps: int, environment: dict[str, str], limit: float) -> float:
    """Seconds that a short training run takes by its own clock, without the imports; `limit` if it takes longer."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "t2vu_core.cli", "erase", "--model", "miniature", "--concept", "ghost", "--json",
                   "--preset", "quick", "--device", "cpu", "--out", f"{folder}/ghost"]  # fmt: skip
        for key, value in {**RECIPE, "steps": steps}.items():
            command += ["--method-option", f"{key}={value}"]
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "MKL_", "GOMP_"))}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=limit, env={**inherited, **environment}
            )
        except subprocess.TimeoutExpired:
            return limit
        result: dict[str, Any] = json.loads(done.stdout)
        return float(result["seconds"])


if __name__ == "__main__":
    main()
