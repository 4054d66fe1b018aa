"""The methods on a model of ComfyUI's own classes: guards, closed form and attacks as on the folder, few-shot in any format."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from t2vu_core import Erasure, UserError, load_model
from t2vu_core.evaluation.attacks import ATTACKS
from t2vu_core.guards import GUARDS
from tests.nodes.native_methods import COARSE, FORMATS, PAIRS, clips_of, closed_form
from tests.nodes.scripts import found_by

LAYERS = {"float32": "float32", "fp16": "float16", "fp8": "float8_e4m3fn", "fp8_scaled": "float8_e4m3fn", "gguf": "uint8"}
"""How the layers are stored."""


@dataclass(frozen=True)
class Found:
    """What one process in ComfyUI's folder found."""

    folder: Path
    clips: Mapping[str, Tensor]
    said: Mapping[str, Any]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("methods")
    clips, said = found_by("methods_in_process.py", folder)
    return Found(folder, clips, said)


@pytest.fixture(scope="module")
def expected(found: Found) -> dict[str, Tensor]:
    """The clips of the diffusers folder."""
    return clips_of(load_model("miniature-ltx", device="cpu"), Erasure.load(found.folder / "closed_form.safetensors"))


@pytest.mark.parametrize("what", ["plain", *GUARDS, "closed_form"])
def test_clips_are_those_of_the_folder(found: Found, expected: Mapping[str, Tensor], what: str) -> None:
    assert (found.clips[what] - expected[what]).abs().max() < 1e-4
    if what != "plain":
        assert (expected[what] - expected["plain"]).abs().max() > 0.01


def test_the_closed_form_solves_the_same_on_both(found: Found) -> None:
    eraser, own = Erasure.load(found.folder / "closed_form.safetensors"), closed_form(load_model("miniature-ltx", device="cpu"))
    assert eraser.tensors.keys() == own.tensors.keys()
    assert eraser.base.hash == own.base.hash


def test_every_attack_runs(found: Found) -> None:
    assert {name: len(clips) for name, clips in found.said["attacks"].items()} == dict.fromkeys(ATTACKS, 2)


def test_velocity_erasing_learns_tokens_through_the_clip_while_it_trains(found: Found) -> None:
    plain, rounds = found.said["losses"], found.said["losses with learned tokens"]
    assert plain[:1] == rounds[:1], "the round is before the second step"
    assert plain[1:] != rounds[1:]
    assert all(math.isfinite(loss) for loss in rounds)


@pytest.mark.parametrize("how", FORMATS)
def test_the_gradient_is_that_of_the_same_values_in_float32(found: Found, how: str) -> None:
    """Also of an fp16 file: ComfyUI computes text encoders in float32, and small gradients do not underflow."""
    said = found.said
    assert said[f"{how} layer"] == f"torch.{LAYERS[how]}"
    assert said[f"{how} cosine"] > 0.9999
    assert said[f"{how} size"] == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("how", FORMATS)
def test_a_step_is_as_large_in_every_format(found: Found, how: str) -> None:
    """Steps are relative to the weights. Relative to the numbers before their scale, they were hundreds of times larger."""
    assert found.said[f"{how} moved"] == pytest.approx(found.said["float32 moved"], rel=0.15)


@pytest.mark.parametrize("how", FORMATS)
def test_the_clip_is_changed_as_the_same_values_in_float32_are(found: Found, how: str) -> None:
    """Merged into fp8 weights, 11 to 17 % of the change were rounded away; in fp16, 0.1 % are."""
    off = found.said[f"{how} off"]
    assert off < (5e-3 if how == "fp16" else 1e-4)
    assert found.said[f"{how} kept"], "the CLIP that came in"


@pytest.mark.parametrize("how", FORMATS)
def test_two_encoders_on_a_clip_add_up(found: Found, how: str) -> None:
    assert found.said[f"{how} halves"] < (1e-2 if how == "fp16" else 1e-4)


@pytest.mark.parametrize(("how", "own"), PAIRS)
def test_the_same_encoder_is_recognised_in_every_format_and_a_fine_tune_is_not(found: Found, how: str, own: str) -> None:
    assert found.said[f"{how} on {own}"] == ""
    assert "its weights differ by more than rounding" in found.said[f"{how} on tuned {own}"]


@pytest.mark.parametrize("how", ["float32", *COARSE])
def test_the_file_serves_the_diffusers_folder(found: Found, how: str) -> None:
    model = load_model("miniature-ltx", device="cpu")
    encoder = Erasure.load(found.folder / f"encoder_{how}.safetensors")
    assert model.with_erasure(encoder).erasures
    with pytest.raises(UserError, match="can only serve models that share that encoder"):
        load_model("miniature", device="cpu").with_erasure(encoder)
