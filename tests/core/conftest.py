"""What the tests of the package share: the command line, called as a user calls it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from t2vu_core.cli import main


@pytest.fixture
def t2vu(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command; its exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
