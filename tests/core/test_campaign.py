"""A sample of the campaign: damaged inputs end in a sentence, in every reader; and its own judge can fail."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tools.campaign import main, table
from tools.campaign_damage import damaged_bytes, damaged_json, damaged_lines
from tools.campaign_worker import FAULTS, Ended, Job, run_jobs


@pytest.mark.slow
def test_no_damaged_input_of_any_reader_ends_in_a_fault(capfd: pytest.CaptureFixture[str]) -> None:
    """Slow because each of the readers reads a file, and some of them a whole model."""
    code = main(["--count", "25", "--seed", "7", "--limit", "120"])
    printed = capfd.readouterr().out
    assert code == 0, printed
    assert "| all | 27 | 0 | 0 | 0 | 0 |" in printed


def test_a_crash_and_a_hang_are_seen(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    hang = Job("hang", "", ("inspect", "HANG"))
    jobs = [
        Job("crash", "", ("inspect", "CRASH")),
        Job("raises", "", ("inspect", "RAISE")),
        Job("refused", "", ("inspect", str(tmp_path / "missing"))),
        Job("accepted", "", ("models",)),
    ]
    ended = {one.job.reader: one.ending for one in _with_broken_inspect(jobs, tmp_path / "fifo", limit=120)}
    assert ended == {"crash": "crash", "raises": "exit 1", "refused": "sentence", "accepted": "accepted"}
    # Apart from the others, which may take as long as the machine needs. The second is given to the process after the first.
    assert [one.ending for one in _with_broken_inspect([hang, hang], tmp_path / "fifo", limit=1)] == ["hang", "hang"]
    assert "| hang | 1 | 0 | 1 | 0 | 0 | 0 | 0 |" in table([Ended(hang, "hang", "", 1.0)])


def _with_broken_inspect(jobs: list[Job], fifo: Path, limit: float) -> list[Ended]:
    from t2vu_core.commands import inspect_

    whole = inspect_.run

    def broken(options: object) -> object:
        kind = getattr(options, "file", "")
        if kind == "HANG":
            fifo.open().read()
        if kind == "CRASH":
            os.abort()
        if kind == "RAISE":
            raise KeyError("a fault of ours")
        return whole(options)  # type: ignore[arg-type]

    inspect_.run = broken  # type: ignore[assignment]
    try:
        # The processes are forks of this one: they have the broken command too.
        return list(run_jobs(jobs, processes=1, limit=limit))
    finally:
        inspect_.run = whole


@pytest.mark.parametrize("damage", [damaged_bytes, damaged_json, damaged_lines])
def test_the_same_seed_gives_the_same_damage_and_another_seed_another(damage: object) -> None:
    content = b'{"a": [1, 2, {"b": "ghost"}], "c": 1.5}'
    made = [damage(content, random.Random(seed)) for seed in (*range(40), *range(40))]  # type: ignore[operator]
    assert made[:40] == made[40:]
    assert len(set(made)) > 15
    assert Counter(made)[content] < 20


def test_every_ending_but_a_sentence_and_acceptance_is_a_fault() -> None:
    assert FAULTS == ("crash", "hang", "traceback", "exit 1")
