"""A benchmark is called as a module or by its path, from any folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LOAD_EACH = """
import runpy, sys
before = list(sys.path)
for script in sys.argv[1:]:
    sys.path[:] = before
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]
    assert callable(runpy.run_path(script, run_name="loaded")["main"]), script
"""


def test_every_benchmark_can_be_called_by_its_path(tmp_path: Path) -> None:
    scripts = [str(path) for path in sorted(BENCHMARKS.glob("*.py")) if "__main__" in path.read_text(encoding="utf-8")]
    assert str(BENCHMARKS / "scoreboard.py") in scripts
    done = subprocess.run([sys.executable, "-c", LOAD_EACH, *scripts], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    goals = subprocess.run(
        [sys.executable, str(BENCHMARKS / "goals.py"), "nowhere"], cwd=tmp_path, capture_output=True, text=True
    )
    assert goals.returncode == 2
    assert "measure first" in goals.stderr
