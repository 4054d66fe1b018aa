"""What a user gave and a library choked on is exit code 2 and one sentence; text from files cannot steer a terminal."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from t2vu_core.commands import models
from t2vu_core.erasure import Erasure, atomic_path, check_writable
from t2vu_core.errors import UserError, escaped
from t2vu_core.interchange import import_released, released
from t2vu_core.prompts.lines import prompt_lines
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.temporary_folders import PROBE, remove_leftovers
from tests.core.safe_torch import opens_released
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def erasure(tmp_path: Path) -> Path:
    return TINY.random_erasure("bottleneck").save(tmp_path / "ghost.safetensors")


def with_description(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite the file; `change` returns the new description as JSON values or as text."""
    with safe_open(str(file), framework="pt") as opened:
        metadata = dict(opened.metadata())
    changed = change(json.loads(metadata["t2vu"]))
    text = changed if isinstance(changed, str) else json.dumps(changed)
    save_file(load_file(file), file, {**metadata, "t2vu": text})


def without_scores(description: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in description.items() if key != "scores"}


@pytest.mark.parametrize(
    "change",
    [without_scores, lambda _: "[" * 200_000, lambda _: '{"format_version":' + "9" * 6000 + "}"],
    ids=["no scores", "deep", "a long number"],
)
def test_a_broken_description_is_refused(t2vu: Callable, erasure: Path, change: Callable) -> None:
    with_description(erasure, change)
    code, _, error = t2vu("inspect", erasure)
    assert (code, error.count("t2vu: ")) == (2, 1)
    assert "broken description" in error


def test_tensors_of_a_type_that_cannot_be_checked_are_refused(t2vu: Callable, erasure: Path) -> None:
    with safe_open(str(erasure), framework="pt") as opened:
        metadata = opened.metadata()
    tensors = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in load_file(erasure).items()}
    save_file(tensors, erasure, metadata)
    code, _, error = t2vu("inspect", erasure)
    assert (code, error.count("t2vu: ")) == (2, 1)
    assert "of a type that erasures do not have" in error


def test_a_device_that_computes_nothing_is_refused(t2vu: Callable, tmp_path: Path) -> None:
    code, _, error = t2vu("sample", "--model", TINY.folder, "--device", "meta", "--prompt", "x", "--out", tmp_path / "a.mp4")
    assert code == 2
    assert "'meta' computes nothing" in error


@pytest.mark.parametrize("prompts", [[], None, [3], "a \ud83d ghost"])
def test_prompts_that_are_no_text_are_refused(prompts: Any) -> None:
    with pytest.raises(UserError, match="The prompt"):
        TINY.model.sample(prompts)


@pytest.mark.parametrize("seeds", [1.5, None, ["1"]])
def test_seeds_that_are_no_whole_numbers_are_refused(seeds: Any) -> None:
    with pytest.raises(UserError, match="The seeds must be"):
        TINY.model.sample("a ghost", seeds=seeds)


def test_half_of_a_character_in_a_request_is_refused() -> None:
    for given in ({"concepts": ("gh\ud83dost",)}, {"concepts": ("ghost",), "synonyms": ("\ud83d",)}):
        with pytest.raises(UserError, match="half of a character pair"):
            ConceptRequest(**given)


@opens_released
def test_a_released_file_cut_in_its_legacy_form_is_refused(tmp_path: Path) -> None:
    tensors = {f"transformer_blocks.{block}.attn1.adapter": {"down.weight": torch.randn(4, 8)} for block in range(2)}
    file = tmp_path / released.WEIGHTS
    torch.save(tensors, file, _use_new_zipfile_serialization=False)
    content = file.read_bytes()
    for kept in range(0, len(content), len(content) // 40):
        file.write_bytes(content[:kept])
        with pytest.raises(UserError) as refused:
            import_released(file)
        assert "\n" not in str(refused.value)


def test_a_released_file_is_not_opened_by_a_torch_whose_loader_has_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / released.WEIGHTS).write_bytes(b"never read")
    monkeypatch.setattr(released.torch, "__version__", "2.9.1+cpu")
    with pytest.raises(UserError, match=r"needs PyTorch 2\.10"):
        import_released(tmp_path)


def test_a_fault_of_ours_is_exit_code_1_with_a_log(t2vu: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: object) -> None:
        raise IndexError("a fault\x1b[2J")

    monkeypatch.setattr(models, "run", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, _, error = t2vu("models")
    (log,) = tmp_path.glob("t2vu-*.log")
    assert code == 1
    assert error.count("\n") == 1
    assert str(log) in error
    assert "\x1b" not in error
    assert "raise IndexError" in log.read_text(encoding="utf-8")


def test_control_characters_of_a_file_are_shown_and_not_sent(t2vu: Callable, erasure: Path) -> None:
    loaded = Erasure.load(erasure)
    dataclasses.replace(loaded, concepts=("ghost\x1b[31m\nt2vu: fine\u202e",)).save(erasure)
    code, out, _ = t2vu("inspect", erasure)
    assert code == 0
    assert "ghost\\x1b[31m\\nt2vu: fine\\u202e" in out
    assert escaped("a\tghost\né") == "a\\tghost\\né"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_stream_that_lacks_a_character_gets_an_escape(erasure: Path, encoding: str) -> None:
    with_description(erasure, lambda description: {**description, "concepts": ["\u5e7d\u970a \ud83d"]})
    done = subprocess.run(
        [sys.executable, "-m", "t2vu_core.cli", "inspect", str(erasure)],
        capture_output=True, text=True, encoding=encoding, cwd=REPOSITORY, env={**os.environ, "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u5e7d\\u970a \\ud83d" in done.stdout


LONG = "x" * 300
FITS = "y" * (255 - len(".safetensors"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "--model", LONG, "--prompt", "x", "--out", "a.mp4"),
        ("sample", "--model", TINY.folder, "--prompt", "x", "--out", f"{LONG}.mp4"),
        ("sample", "--model", TINY.folder, "--prompt", "x", "--erasure", LONG, "--out", "a.mp4"),
        ("inspect", LONG),
        ("inspect", f"folder/{LONG}/x.safetensors"),
        ("import", LONG, "--out", "a"),
        ("export", LONG, "--format", "comfyui", "--out", "a"),
        ("erase", "--model", TINY.folder, "--concept", "x", "--out", LONG, "--preset", "quick"),
        ("erase", "--model", TINY.folder, "--concept", "x", "--out", "a", "--preset", "quick", "--log", LONG),
        ("erase", "--model", TINY.folder, "--concept", "x", "--out", "a", "--preset", "quick", "--preserve-prompts", LONG),
        ("evaluate", "--model", TINY.folder, "--concept", "ghost", "--out", LONG),
        ("evaluate", "--model", TINY.folder, "--concept", "ghost", "--out", "a", "--detector", f"clip:{LONG}"),
        ("unlearn-encoder", "--model", TINY.folder, "--concept", "x", "--out", "a", "--images", LONG),
    ],
    ids=lambda arguments: " ".join(str(part)[:20] for part in arguments if str(part) != str(TINY.folder)),
)
def test_a_name_that_no_drive_takes_is_refused_before_anything_is_computed(
    t2vu: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = t2vu(*arguments)
    assert (code, error.count("t2vu: ")) == (2, 1)
    assert "x" * 20 in error
    assert "Errno" not in error
    assert not list(tmp_path.iterdir())


def test_the_longest_possible_name_is_written_whole(tmp_path: Path) -> None:
    erasure = TINY.random_erasure("bottleneck")
    check_writable(tmp_path / f"{FITS}.safetensors")
    file = erasure.save(tmp_path / FITS)
    assert file.name == f"{FITS}.safetensors"
    assert list(tmp_path.iterdir()) == [file]
    with atomic_path(file) as temporary:
        temporary.touch()
        left = temporary.parent.with_name(f"{temporary.parent.name}{PROBE}")
        left.touch()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [file]
    wide = TINY.random_erasure("bottleneck").save(tmp_path / ("幽" * 81))
    assert Erasure.load(wide).concepts == erasure.concepts
    with pytest.raises(UserError, match="300 bytes"):
        erasure.save(tmp_path / LONG)


def test_a_message_about_something_endless_is_cut(t2vu: Callable) -> None:
    for arguments in (("--seed", "9" * 5000), ("--model", "m" * 5000), ("--erasure", f"{'/x' * 2500}.safetensors")):
        given = dict(zip(("--model", "--prompt", "--out"), (str(TINY.folder), "x", "a.mp4"), strict=True)) | dict([arguments])
        code, _, error = t2vu("sample", *(part for pair in given.items() for part in pair))
        assert (code, error.count("t2vu: ")) == (2, 1)
        assert len(error) < 2200


def test_json_that_cannot_be_read_whole_is_not_taken_for_a_prompt() -> None:
    for line in ('{"prompt": "a ghost", "seed": ' + "9" * 5000 + "}", '{"prompt": ' + "[" * 5000):
        with pytest.raises(UserError, match="this is JSON"):
            prompt_lines(line, "prompts.jsonl")
    assert prompt_lines('{"red|blue"} ghost', "prompts.txt") == ['{"red|blue"} ghost']
