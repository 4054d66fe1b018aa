"""What the tests of the package share: the command line, called as a user calls it, and every architecture."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from t2vu_core.cli import main
from tests.core.tiny_models import TINY_MODELS, TinyModel


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


@pytest.fixture(params=TINY_MODELS.values(), ids=lambda tiny: tiny.name)
def tiny(request: pytest.FixtureRequest) -> TinyModel:
    """Every architecture, at tiny size."""
    return request.param
