"""Which weights an eraser accepts: the same in another number format, but neither a fine-tune unasked nor another model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from t2vu_core import Erasure, T2VModel, UserError, load_model
from t2vu_core.base_identity import compare_bases
from t2vu_core.erasers import EraserSet
from t2vu_core.weight_sketch import Sketch, compare, rounding, sketch

FP8 = torch.float8_e4m3fn


@pytest.fixture(scope="module")
def miniature() -> T2VModel:
    return load_model("miniature", device="cpu")


@pytest.fixture(scope="module")
def eraser(miniature: T2VModel) -> Erasure:
    tensors = EraserSet.create(miniature.family.lora_sites(), rank=1, seed=0).named_tensors()
    return Erasure("eraser", ("ghost",), miniature.base, tensors, "untrained, for tests")


@pytest.fixture
def other() -> T2VModel:
    """A copy of the model, whose weights a test may change."""
    return load_model("miniature", device="cpu")


def change(model: T2VModel, new: Callable[[Tensor], Tensor]) -> T2VModel:
    with torch.no_grad():
        for site in model.family.eraser_sites():
            for parameter in site.module.parameters():
                parameter.data = new(parameter.data)
    return model


def tuned(share: float) -> Callable[[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    return lambda weight: weight + share * weight.pow(2).mean().sqrt() * torch.randn(weight.shape, generator=generator)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, FP8, torch.float8_e5m2])
def test_the_expected_rounding_is_what_the_trained_weights_show(miniature: T2VModel, dtype: torch.dtype) -> None:
    """`ROUNDED` and `OUTLIER` stand on this."""
    units = []
    for _, weight in miniature.family.named_base_tensors():
        # Of a format that a hash cannot compare exactly; the miniature's own weights are fp16.
        exact = weight * 1.2345
        stored = exact.to(dtype)
        units.append((sketch(stored) - sketch(exact)) / rounding(stored))
    found = torch.tensor(units)
    assert 0.8 < float(found.square().mean().sqrt()) < 1.3
    assert float(found.abs().max()) < 5


@pytest.mark.parametrize(("dtype", "said"), [(torch.float16, ""), (torch.bfloat16, ""), (FP8, "fp8, off by 3")])
def test_a_model_in_another_format_is_the_same(
    miniature: T2VModel, eraser: Erasure, other: T2VModel, dtype: torch.dtype, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    change(other, lambda weight: (weight * 1.0).to(dtype))
    with caplog.at_level("INFO"):
        assert other.with_erasure(eraser).erasures
    assert said in caplog.text
    found = compare_bases(eraser.base, other.base)
    assert found is not None
    if dtype is FP8:
        assert 0.02 < found.off < 0.04
        assert "a fine-tune that changes less than that cannot be told from it" in str(found)


def test_a_scaled_tensor_has_the_sketch_of_the_unscaled_one(miniature: T2VModel) -> None:
    for _, weight in miniature.family.named_base_tensors():
        scaled = (weight / weight.abs().max() * 448).to(FP8)
        assert abs(sketch(scaled) - sketch(weight)) < 5 * rounding(scaled)


@pytest.mark.parametrize("share", [0.003, 0.03, 0.2])
def test_a_fine_tune_must_be_allowed(eraser: Erasure, other: T2VModel, share: float) -> None:
    change(other, tuned(share))
    with pytest.raises(UserError, match=r"trained on miniature \(.*weights differ by .* %, so this is a fine-tune"):
        other.with_erasure(eraser)
    found = compare_bases(eraser.base, other.base)
    assert found is not None
    assert found.verdict == "fine-tune"
    assert found.off == pytest.approx(share, rel=0.3)
    assert other.with_erasure(eraser, allow_other_base=True).erasures


def test_in_fp8_only_a_strong_fine_tune_is_told_from_its_base(eraser: Erasure, other: T2VModel) -> None:
    change(other, lambda weight: tuned(0.01)(weight).to(FP8))
    assert other.with_erasure(eraser).erasures
    strong = change(load_model("miniature", device="cpu"), lambda weight: tuned(0.2)(weight).to(FP8))
    with pytest.raises(UserError, match="fine-tune"):
        strong.with_erasure(eraser)


def test_another_model_is_refused_even_if_allowed(eraser: Erasure, other: T2VModel) -> None:
    change(other, lambda weight: torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    with pytest.raises(UserError, match="they are two models"):
        other.with_erasure(eraser, allow_other_base=True)


def test_the_file_keeps_the_sketch_and_older_files_are_compared_by_hash(
    eraser: Erasure, other: T2VModel, tmp_path: Path
) -> None:
    loaded = Erasure.load(eraser.save(tmp_path / "new"))
    assert loaded.base.sketch is not None
    assert compare(loaded.base.sketch, other.base.sketch or loaded.base.sketch).off == 0
    old = dataclasses.replace(eraser, base=dataclasses.replace(eraser.base, sketch=None)).save(tmp_path / "old")
    assert "base_sketch" not in Erasure.load(old).describe()
    assert other.with_erasure(Erasure.load(old)).erasures
    change(other, tuned(0.003))
    vars(other.family).pop("base_hash")
    with pytest.raises(UserError, match="weights differ. Load that base, or allow another base explicitly"):
        other.with_erasure(Erasure.load(old))


def test_a_sketch_of_other_weights_than_the_hash_is_not_used(eraser: Erasure, miniature: T2VModel) -> None:
    foreign = dataclasses.replace(eraser, base=dataclasses.replace(eraser.base, hash="0" * 64))
    with pytest.raises(UserError, match="weights differ"):
        miniature.with_erasure(foreign)


@pytest.mark.parametrize("broken", [[], {"hash": "x"}, {"values": {"a": "b"}}, {"values": {"a": float("nan")}}, {"values": 3}])
def test_a_broken_sketch_is_named(eraser: Erasure, tmp_path: Path, broken: object) -> None:
    file = eraser.save(tmp_path / "eraser")
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    said = json.loads(metadata["t2vu"])
    said["base_sketch"] = said["base_sketch"] | broken if isinstance(broken, dict) and "hash" not in broken else broken
    save_file(load_file(file), file, metadata | {"t2vu": json.dumps(said)})
    with pytest.raises(UserError, match="broken sketch of its base"):
        Erasure.load(file)


def test_a_base_in_fp8_is_recognised_in_full_precision(miniature: T2VModel) -> None:
    """An eraser may be trained on the fp8 file and used on the folder."""
    named = [(name, weight.to(FP8)) for name, weight in miniature.family.named_base_tensors()]
    trained = Sketch.of("0" * 64, named)
    assert compare(trained, miniature.family.base_sketch).verdict == "rounded"
