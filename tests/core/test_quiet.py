"""Libraries are silent around our own calls, and as talkative as before around everybody else's."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import diffusers
import pytest
import transformers
from diffusers import DiffusionPipeline

from t2vu_core.model import load_model
from t2vu_core.quiet import quiet_libraries
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
TOO_LONG = "a ghost at night " * 200


class Heard(logging.Handler):
    """What libraries have logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def heard() -> Iterator[Heard]:
    """The libraries as they are in a fresh process: warnings and loading bars on."""
    handler = Heard()
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_warning()
        library.enable_progress_bar()
        library.add_handler(handler)
    yield handler
    for library, (verbosity, drawing) in zip(libraries, before, strict=True):
        library.remove_handler(handler)
        library.set_verbosity(verbosity)
        (library.enable_progress_bar if drawing else library.disable_progress_bar)()


def test_loading_a_model_draws_no_bars(heard: Heard, capfd: pytest.CaptureFixture[str]) -> None:
    folder = TINY.folder
    capfd.readouterr()
    heard.lines.clear()
    load_model(folder, device="cpu")
    captured = capfd.readouterr()
    assert (captured.out, captured.err, heard.lines) == ("", "", [])
    DiffusionPipeline.from_pretrained(TINY.folder)
    assert "Loading pipeline components" in capfd.readouterr().err, "the host's own bars must come back"


def test_a_prompt_that_is_too_long_fills_no_log(heard: Heard) -> None:
    TINY.model.family.encode([TOO_LONG])
    assert heard.lines == []
    TINY.stock().encode_prompt(TOO_LONG, do_classifier_free_guidance=False)
    assert any("truncated" in line for line in heard.lines), "the host's own warnings must come back"


def test_the_settings_of_the_host_survive_an_error(heard: Heard) -> None:
    with pytest.raises(ValueError, match="text input"):
        TINY.model.family.encode([None])  # type: ignore[list-item]
    assert diffusers.utils.logging.get_verbosity() == logging.WARNING
    assert transformers.utils.logging.is_progress_bar_enabled()


def test_the_settings_of_the_host_survive_two_threads_that_are_silent_at_once(heard: Heard) -> None:
    first, second = quiet_libraries(), quiet_libraries()
    with first:
        second.__enter__()
    assert diffusers.utils.logging.get_verbosity() == logging.ERROR, "the second one is not done"
    assert not transformers.utils.logging.is_progress_bar_enabled()
    second.__exit__(None, None, None)
    assert diffusers.utils.logging.get_verbosity() == logging.WARNING
    assert transformers.utils.logging.is_progress_bar_enabled()
