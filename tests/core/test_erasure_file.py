"""The erasure file: what it keeps, and what damaged or hostile files do."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Base, Erasure, hash_tensors, read_description
from t2vu_core.errors import UserError
from tests.core.example_scores import scores


@pytest.fixture
def erasure() -> Erasure:
    tensors = {"block.0.down.weight": torch.randn(4, 8), "block.0.up.weight": torch.zeros(8, 4)}
    return Erasure("eraser", ("ghost",), Base("tiny", "cogvideox", "ab" * 32), tensors, "velocity", recipe={"eta": 1.0})


def test_a_saved_erasure_loads_as_it_was(erasure: Erasure, tmp_path: Path) -> None:
    path = erasure.save(tmp_path / "ghost")
    loaded = Erasure.load(path)
    assert path.name == "ghost.safetensors"
    assert loaded.describe() == erasure.describe()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in erasure.tensors.items())


def test_scores_are_kept_in_the_file_and_none_is_said_to_be_none(erasure: Erasure, tmp_path: Path) -> None:
    assert read_description(erasure.save(tmp_path / "a"))["scores"] is None
    scored = erasure.with_scores(scores([False] * 4, [True] * 4))
    assert read_description(scored.save(tmp_path / "b"))["scores"] == scored.scores.to_json()  # type: ignore[union-attr]
    assert Erasure.load(tmp_path / "b.safetensors").scores == scored.scores
    assert erasure.scores is None


def test_model_managers_find_the_title(erasure: Erasure, tmp_path: Path) -> None:
    with safe_open(str(erasure.save(tmp_path / "a")), framework="pt") as file:
        assert file.metadata()["modelspec.title"] == "Erases ghost"


def test_every_truncation_of_a_file_is_refused_in_one_sentence(erasure: Erasure, tmp_path: Path) -> None:
    whole = erasure.save(tmp_path / "a").read_bytes()
    for length in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        broken = tmp_path / "broken.safetensors"
        broken.write_bytes(whole[:length])
        with pytest.raises(UserError, match="broken.safetensors") as caught:
            Erasure.load(broken)
        assert "\n" not in str(caught.value)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    opened = tmp_path / "opened"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (opened,)

    (tmp_path / "a.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError):
        Erasure.load(tmp_path / "a.safetensors")
    assert not opened.exists()


@pytest.mark.parametrize(
    "damage",
    [
        {"format_version": 99},
        {"kind": "something else"},
        {"concepts": "ghost"},
        {"base": {"name": "x"}},
        {"base": {"name": 1, "family": "x", "hash": "y"}},
        {"scores": 3},
        {"recipe": None},
    ],
)
def test_a_description_that_lies_about_itself_is_refused(erasure: Erasure, tmp_path: Path, damage: dict) -> None:
    description = {**erasure.describe(), **damage}
    save_file(dict(erasure.tensors), str(tmp_path / "a.safetensors"), {"t2vu": json.dumps(description)})
    with pytest.raises(UserError, match=r"a\.safetensors"):
        Erasure.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("metadata", [{}, {"t2vu": "{"}, {"t2vu": "[]"}])
def test_a_safetensors_file_that_is_not_an_erasure_is_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    save_file({"x": torch.zeros(1)}, str(tmp_path / "a.safetensors"), metadata)
    with pytest.raises(UserError, match="not an erasure|broken description"):
        Erasure.load(tmp_path / "a.safetensors")


def test_values_that_are_no_numbers_are_refused(erasure: Erasure, tmp_path: Path) -> None:
    erasure.tensors["block.0.up.weight"][0, 0] = float("nan")  # type: ignore[index]
    with pytest.raises(UserError, match="not finite numbers"):
        Erasure.load(erasure.save(tmp_path / "a"))


@pytest.mark.parametrize(
    "shapes",
    [
        {"table.weight": (2, 2, 2)},
        {"lora_A.weight": (2, 2), "lora_B.weight": ()},
        {"delta.weight": (2,)},
        {"down.weight": (2, 2), "up.weight": (3, 3)},
    ],
)
def test_tensors_that_form_no_eraser_are_refused(shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(UserError, match="do not form a set of erasers"):
        EraserSet.from_tensors({f"block.{name}": torch.zeros(shape) for name, shape in shapes.items()})


def test_a_failed_save_leaves_the_old_file_and_no_scraps(
    erasure: Erasure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = erasure.save(tmp_path / "a")
    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(UserError, match="No space left"):
        erasure.with_scores(scores([False], [True])).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_missing_file_and_a_missing_folder_are_named(erasure: Erasure, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no erasure file"):
        Erasure.load(tmp_path / "none.safetensors")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="Cannot write"):
        erasure.save(tmp_path / "file" / "a")


def test_the_base_hash_ignores_the_number_format_but_no_value() -> None:
    weights = torch.randn(16, 16).to(torch.bfloat16)
    assert hash_tensors([("w", weights)]) == hash_tensors([("w", weights.float())])
    assert hash_tensors([("w", weights)]) != hash_tensors([("v", weights)])
    assert hash_tensors([("w", weights)]) != hash_tensors([("w", weights.view(8, 32))])
    changed = weights.clone()
    changed[3, 3] += 1
    assert hash_tensors([("w", weights)]) != hash_tensors([("w", changed)])
