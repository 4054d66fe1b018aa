"""Few-shot unlearning in ComfyUI's own T5 as it is downloaded: in fp8, and in fp8 with a scale for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from t2vu_core import Erasure, UserError, load_model
from tests.nodes.scripts import found_by

FORMATS = ("float32", "fp8", "fp8_scaled")


@dataclass(frozen=True)
class Unlearned:
    """What one process in ComfyUI's folder found."""

    folder: Path
    said: Mapping[str, Any]


@pytest.fixture(scope="module")
def unlearned(tmp_path_factory: pytest.TempPathFactory) -> Unlearned:
    folder = tmp_path_factory.mktemp("encoders")
    _, said = found_by("encoders_in_process.py", folder)
    return Unlearned(folder, said)


@pytest.mark.parametrize("how", FORMATS)
def test_the_gradient_is_that_of_the_same_values_in_float32(unlearned: Unlearned, how: str) -> None:
    said = unlearned.said
    assert ("float8_e4m3fn" in said[f"{how} layer"]) == (how != "float32")
    assert said[f"{how} cosine"] > 0.9999
    assert said[f"{how} size"] == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("how", FORMATS)
def test_a_step_is_as_large_in_every_format(unlearned: Unlearned, how: str) -> None:
    """Steps are relative to the weights. Relative to the numbers before their scale, they were hundreds of times larger."""
    assert unlearned.said[f"{how} moved"] == pytest.approx(unlearned.said["float32 moved"], rel=0.15)


@pytest.mark.parametrize("how", FORMATS)
def test_the_clip_is_changed_as_the_same_values_in_float32_are(unlearned: Unlearned, how: str) -> None:
    """ComfyUI rounds the changed weights to fp8 again. Measured: 11 to 17 % of the change."""
    off = unlearned.said[f"{how} off"]
    assert off < (0.25 if how != "float32" else 1e-6)
    assert unlearned.said[f"{how} kept"], "the CLIP that came in"


@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("own", FORMATS)
def test_the_same_encoder_is_recognised_in_every_format_and_a_fine_tune_is_not(
    unlearned: Unlearned, how: str, own: str
) -> None:
    assert unlearned.said[f"{how} on {own}"] == ""
    assert "its weights differ by more than rounding" in unlearned.said[f"{how} on tuned {own}"]


@pytest.mark.parametrize("how", FORMATS)
def test_the_file_serves_the_diffusers_folder(unlearned: Unlearned, how: str) -> None:
    model = load_model("miniature-ltx", device="cpu")
    encoder = Erasure.load(unlearned.folder / f"encoder_{how}.safetensors")
    assert model.with_erasure(encoder).erasures
    with pytest.raises(UserError, match="can only serve models that share that encoder"):
        load_model("miniature", device="cpu").with_erasure(encoder)
