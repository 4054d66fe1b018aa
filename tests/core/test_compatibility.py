"""Erasure files of older versions: they open, say what they said, and do what they did."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from t2vu_core.erasure import Erasure
from t2vu_core.model import load_model

DATA = Path(__file__).parents[1] / "data" / "v0_1"
GHOST, CAT = "a ghost moving left under a starry night", "a cat moving left, in noir style"
FILES = {
    "bottleneck": ("eraser", "miniature", "ghost", GHOST),
    "lora": ("eraser", "miniature-unet", "in noir style", CAT),
    "encoder_lora": ("unlearned_encoder", "miniature", "ghost", GHOST),
    "encoder_delta": ("unlearned_encoder", "miniature-unet", "ghost", GHOST),
}


def erasure_file(name: str) -> Path:
    return DATA / "erasures" / f"{name}.safetensors"


@pytest.mark.smoke
@pytest.mark.parametrize("name", FILES)
def test_an_erasure_of_0_1_changes_the_clip_as_it_did_in_0_1(name: str) -> None:
    _, base, _, prompt = FILES[name]
    model = load_model(base, device="cpu", dtype=torch.float32)
    erased = model.with_erasure(Erasure.load(erasure_file(name)), 10.0)
    frame, untouched = (each.sample([prompt], seeds=[3], num_inference_steps=2)[0, 4] for each in (erased, model))
    recorded = load_file(DATA / "frames.safetensors")[name]
    assert (frame - recorded).abs().max() < 0.02
    assert (untouched - recorded).abs().max() > 0.1, "an erasure that is ignored would not be noticed"


@pytest.mark.smoke
@pytest.mark.parametrize("name", FILES)
def test_an_erasure_of_0_1_is_inspected_and_written_again_with_all_that_it_says(
    name: str, t2vu: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    kind, base, concept, _ = FILES[name]
    code, out, err = t2vu("inspect", erasure_file(name), "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["kind"], told["concepts"]) == (kind, [concept])
    assert told["base"]["name"].startswith(base)
    assert told["recipe"]["steps"] == 3
    old = Erasure.load(erasure_file(name))
    again = Erasure.load(old.save(tmp_path / "again"))
    assert again.describe() == old.describe()
    assert all(torch.equal(again.tensors[key], value) for key, value in old.tensors.items())


def test_the_scores_in_a_file_of_0_1_are_shown(t2vu: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = t2vu("inspect", erasure_file("bottleneck"))
    assert code == 0
    assert "3 of 3 clips" in out
