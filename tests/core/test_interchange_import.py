"""The paper's released erasers, in their own layout, become erasures; hostile files become one sentence."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.interchange import import_released
from tests.core.safe_torch import opens_released
from tests.core.tiny_models import TINY_MODELS, TinyModel

pytestmark = opens_released

PROMPTS = ["a red ghost floats over a quiet green hill"]
RELEASED = ["cogvideox-2b", "cogvideox-5b", "hunyuan-video"]


@pytest.fixture(params=RELEASED)
def tiny(request: pytest.FixtureRequest) -> TinyModel:
    return TINY_MODELS[request.param]


def release(tiny: TinyModel, folder: Path, **changes: Any) -> Path:
    """A release as the paper's code writes it: adapters by attention, with their rank."""
    adapters: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tiny.random_erasure("bottleneck").tensors.items():
        site, layer, parameter = key.rsplit(".", 2)
        adapters.setdefault(f"{site}.adapter", {})[f"{layer}.{parameter}"] = tensor
    folder.mkdir(exist_ok=True)
    torch.save(adapters, folder / "eraser_weights.pt")
    config = {"eraser_type": "adapter", "eraser_rank": 4, **changes}
    (folder / "eraser_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.smoke
def test_a_release_does_what_it_did_where_it_was_trained(tiny: TinyModel, tmp_path: Path) -> None:
    folder = release(tiny, tmp_path / "nudity")
    for path in (folder, folder / "eraser_weights.pt"):
        erasure = import_released(path, model=tiny.model)
        assert erasure.concepts == ("nudity",)
        assert erasure.base == tiny.model.base
        assert (erasure.recipe, erasure.training) == ({"rank": 4}, {"imported_from": "eraser_weights.pt"})
    loaded = Erasure.load(erasure.save(tmp_path / "imported"))
    clips = [
        tiny.sample_ours(tiny.model.with_erasure(each), PROMPTS, [1], 1.0)
        for each in (loaded, tiny.random_erasure("bottleneck"))
    ]
    assert torch.equal(*clips)


def test_a_release_without_its_model_says_that_the_base_is_unknown(tiny: TinyModel, tmp_path: Path) -> None:
    erasure = import_released(release(tiny, tmp_path / "x"), concepts=("nudity", "blood"))
    assert erasure.concepts == ("nudity", "blood")
    with pytest.raises(UserError, match="weights differ"):
        tiny.model.with_erasure(erasure)
    assert tiny.model.with_erasure(erasure, allow_other_base=True).erasures


def test_a_release_for_another_model_is_refused(tmp_path: Path) -> None:
    folder = release(TINY_MODELS["cogvideox-2b"], tmp_path / "x")
    with pytest.raises(UserError, match="is for cogvideox"):
        import_released(folder, model=TINY_MODELS["wan-2.1"].model)
    weights = torch.load(folder / "eraser_weights.pt", weights_only=True)
    weights["transformer_blocks.99.attn1.adapter"] = weights["transformer_blocks.0.attn1.adapter"]
    torch.save(weights, folder / "eraser_weights.pt")
    with pytest.raises(UserError, match=r"transformer_blocks\.99"):
        import_released(folder, model=TINY_MODELS["cogvideox-2b"].model)


class Payload:
    """What a hostile pickle does: name a function that unpickling would call."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def good() -> dict[str, Tensor]:
    return {
        "down.weight": torch.ones(4, 8),
        "down.bias": torch.ones(4),
        "up.weight": torch.ones(8, 4),
        "up.bias": torch.ones(8),
    }


NAME = "transformer_blocks.0.attn1.adapter"
BROKEN: dict[str, Any] = {
    "a list": [1, 2],
    "nothing": {},
    "numbers": {NAME: 3},
    "deeper": {NAME: {"down": {"weight": torch.ones(4, 8)}}},
    "other names": {"lora_A": torch.ones(4, 8)},
    "a layer missing": {NAME: {"down.weight": torch.ones(4, 8)}},
    "wrong shapes": {NAME: {**good(), "up.weight": torch.ones(4, 8)}},
    "no matrix": {NAME: {**good(), "down.weight": torch.tensor(1.0)}},
    "not finite": {NAME: {**good(), "up.bias": torch.full((8,), float("nan"))}},
    "integers": {NAME: {key: tensor.long() for key, tensor in good().items()}},
    "a claimed giant": {NAME: {**good(), "up.weight": torch.ones(1).expand(2**20, 2**20)}},
    "two families": {NAME: good(), "single_transformer_blocks.0.attn.adapter": good()},
    "several ranks": {NAME: good(), "transformer_blocks.1.attn1.adapter": {
        "down.weight": torch.ones(2, 8), "down.bias": torch.ones(2), "up.weight": torch.ones(8, 2), "up.bias": torch.ones(8)}},
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_is_not_a_release_is_refused_in_one_sentence(what: str, tmp_path: Path) -> None:
    torch.save(BROKEN[what], tmp_path / "eraser_weights.pt")
    assert_refused_in_one_sentence(tmp_path)


def assert_refused_in_one_sentence(path: Path) -> None:
    with pytest.raises(UserError) as refused:
        import_released(path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for zipped in (True, False):
        torch.save({NAME: Payload(marker)}, tmp_path / "eraser_weights.pt", _use_new_zipfile_serialization=zipped)
        assert_refused_in_one_sentence(tmp_path)
    (tmp_path / "eraser_weights.pt").write_bytes(pickle.dumps(Payload(marker)))
    assert_refused_in_one_sentence(tmp_path)
    assert not marker.exists()
    pickle.loads((tmp_path / "eraser_weights.pt").read_bytes())
    assert marker.exists(), "the payload would not have shown that it ran"


def test_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    file = release(TINY_MODELS["cogvideox-2b"], tmp_path) / "eraser_weights.pt"
    content = file.read_bytes()
    for kept in (0, 1, 10, len(content) // 2, len(content) - 30):
        file.write_bytes(content[:kept])
        assert_refused_in_one_sentence(tmp_path)
    file.write_bytes(b"\x80\x02 not a pickle")
    assert_refused_in_one_sentence(tmp_path)
    file.unlink()
    assert_refused_in_one_sentence(tmp_path)


def wide(width: int) -> dict[str, Tensor]:
    """A good adapter of that many channels, all of them zero."""
    shapes = {"down.weight": (4, width), "down.bias": (4,), "up.weight": (width, 4), "up.bias": (width,)}
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_file_that_unpacks_to_more_than_it_is_refused(compression: int, tmp_path: Path) -> None:
    """A few kilobytes could fill the memory. Stored as torch stores it, the same content is a good release."""
    file = release(TINY_MODELS["cogvideox-2b"], tmp_path) / "eraser_weights.pt"
    torch.save({NAME: wide(2**17)}, file)
    size = file.stat().st_size
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    if compression == zipfile.ZIP_STORED:
        assert import_released(tmp_path).tensors
    else:
        assert file.stat().st_size < size / 100
        with pytest.raises(UserError, match="unpacks to more than its own size"):
            import_released(tmp_path)


@pytest.mark.parametrize(
    "config", ['{"eraser_type": "adapter", "eraser_rank": 5}', '{"eraser_type": "lora", "eraser_rank": 4}', "[", "[]", "{}"]
)
def test_a_configuration_that_contradicts_the_weights_is_refused(config: str, tmp_path: Path) -> None:
    folder = release(TINY_MODELS["cogvideox-2b"], tmp_path / "x")
    (folder / "eraser_config.json").write_text(config, encoding="utf-8")
    assert_refused_in_one_sentence(folder)
