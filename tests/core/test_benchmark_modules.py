"""Every benchmark can be called as a module from the repository's folder, and builds on the package's modules alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = {path.stem: text for path in sorted(ROOT.glob("benchmarks/*.py")) if "__main__" in (text := path.read_text("utf-8"))}
CALL_EACH = """
import contextlib, io, runpy, sys
for name in sys.argv[1:]:
    told = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(told):
        sys.argv = [name, "--help"]
        runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)
    assert told.getvalue().startswith("usage:"), name
"""


def test_every_benchmark_shows_its_help() -> None:
    assert "scoreboard" in SCRIPTS
    done = subprocess.run([sys.executable, "-c", CALL_EACH, *SCRIPTS], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_benchmark_without_measurements_says_to_measure_first(tmp_path: Path) -> None:
    goals = subprocess.run(
        [sys.executable, "-m", "benchmarks.goals", str(tmp_path / "nowhere")], cwd=ROOT, capture_output=True, text=True
    )
    assert goals.returncode == 2
    assert "measure first" in goals.stderr
