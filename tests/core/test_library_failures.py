"""What a library raises on a user's file is one sentence, even where it is no Exception."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from t2vu_core.errors import Cancelled, UserError, first_line, panics_refused, reading
from t2vu_core.miniature.bundled import bundled_folder
from t2vu_core.model import load_model

ENDLESS = {"type": "Replace", "pattern": {"Regex": "^(([a-z ])+.)+[A-Z]([a-z])+$"}, "content": ""}
"""A normalizer whose regular expression gives up on long words; the library panics."""
LONG = "a" * 60 + "!"


def with_tokenizer(folder: Path, **changes: object) -> Path:
    """A copy of the bundled miniature with a changed tokenizer."""
    bundled = bundled_folder("miniature")
    assert bundled is not None
    shutil.copytree(bundled, folder)
    file = folder / "tokenizer" / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
    return folder


@pytest.fixture
def panicking(tmp_path: Path) -> Path:
    return with_tokenizer(tmp_path / "model", normalizer=ENDLESS)


def test_a_tokenizer_that_panics_is_a_sentence_in_python(panicking: Path) -> None:
    model = load_model(panicking)
    with pytest.raises(BaseException, match="retry-limit") as raw:
        model.family.pipeline.tokenizer(LONG)
    assert not isinstance(raw.value, Exception), "the library no longer panics: this test shows nothing"
    with pytest.raises(UserError, match="A library failed on this text"):
        model.sample(LONG, num_inference_steps=1)


def test_a_tokenizer_that_panics_is_a_sentence_on_the_command_line(t2vu: Callable, panicking: Path, tmp_path: Path) -> None:
    code, _, error = t2vu("sample", "--model", panicking, "--prompt", LONG, "--out", tmp_path / "a.mp4")
    assert (code, "Traceback" in error) == (2, False)
    assert "t2vu: A library failed on this text" in error
    code, _, error = t2vu("erase", "--model", panicking, "--concept", LONG, "--out", tmp_path / "a", "--preset", "quick")
    assert code == 2
    assert "t2vu: A library failed on this text" in error


@pytest.mark.parametrize("changes", [{"model": {"type": "none"}}, {"normalizer": 3}, {"version": "9.9"}])
def test_a_damaged_tokenizer_is_named_with_its_folder(changes: dict[str, object], tmp_path: Path) -> None:
    folder = with_tokenizer(tmp_path / "model", **changes)
    with pytest.raises(UserError, match="cannot be loaded") as refused:
        load_model(folder)
    assert str(folder) in str(refused.value)


def test_other_endings_pass_through() -> None:
    for ending in (KeyboardInterrupt, SystemExit, Cancelled):
        with pytest.raises(ending), reading("x cannot be read"):
            raise ending
    with pytest.raises(KeyError), panics_refused():
        raise KeyError("a fault of ours")
    with pytest.raises(UserError, match="^x cannot be read: IndexError$"), reading("x cannot be read"):
        raise IndexError
    assert first_line(IndexError()) == "IndexError"
