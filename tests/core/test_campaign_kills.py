"""The command that kills and resumes training runs."""

from __future__ import annotations

import re

import pytest

from tools.campaign_kills import Killed, _tell, main


@pytest.mark.slow
def test_a_killed_and_resumed_run_is_the_whole_run_bit_for_bit(capfd: pytest.CaptureFixture[str]) -> None:
    """Slow because it trains three times."""
    assert main(["--count", "1", "--seed", "3"]) == 0
    assert re.search("1 of 1 resumed runs are equal bit for bit", capfd.readouterr().out)


def test_a_difference_and_a_leftover_are_faults() -> None:
    assert _tell([Killed(3, True, [])]) == 0
    assert _tell([Killed(3, False, [])]) == 1
    assert _tell([Killed(3, True, [".state.t2vu-a1b2c3d4"])]) == 1
