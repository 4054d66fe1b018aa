"""Requests of any size end quickly, and a cancel takes effect while a training run prepares."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from t2vu_core.commands import models
from t2vu_core.errors import Cancelled, UserError
from t2vu_core.families import Wan
from t2vu_core.miniature.bundled import bundled_folder
from t2vu_core.model import load_model
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.lines import MAX_CHARACTERS, prompt_lines
from t2vu_core.prompts.plan import plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import MOST, ConceptRequest
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.training.few_shot.train import unlearn_encoder
from t2vu_core.training.progress import TrainProgress
from t2vu_core.training.velocity.train import erase_velocity
from tests.core.test_library_failures import with_tokenizer
from tests.core.tiny_models import TINY_MODELS
from tests.core.tiny_training import recipe

TINY = TINY_MODELS["cogvideox-2b"]
WORDS = [f"thing{number}" for number in range(3000)]


@pytest.mark.parametrize("field", ["concepts", "synonyms"])
def test_three_thousand_names_are_refused(field: str) -> None:
    with pytest.raises(UserError, match=f"at most {MOST[field]}"):
        ConceptRequest(**{"concepts": ("ghost",), field: WORDS})


def test_a_prompt_of_a_million_letters_is_refused() -> None:
    with pytest.raises(UserError, match="line 1: 1000000 characters are too many"):
        prompt_lines("a" * 1_000_000, "the field")
    with pytest.raises(UserError, match=f"at most {MAX_CHARACTERS}"):
        ConceptRequest(("a" * 1_000_000,))


def test_the_largest_request_is_planned_in_seconds() -> None:
    many = tuple(f"a {WORDS[number % 64]} walks along sea number {number}" for number in range(5000))
    kept = tuple(f"a stone{number % 64} lies by sea number {number}" for number in range(5000))
    request = ConceptRequest(WORDS[:64], concept_prompts=many, preserve_prompts=kept)
    start = time.process_time()
    plan_request(request, prompt_set_for(None), PlanSize(24, 48, 0))
    assert time.process_time() - start < 20


def test_models_says_what_the_installed_diffusers_lacks(t2vu: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "WanPipeline" in t2vu("models")[1]
    newer = type("Newer", (Wan,), {"pipeline_classes": ("WanPipeline", "PipelineOfTheFuture")})
    monkeypatch.setattr(models, "FAMILIES", (newer,))
    listed, lacking = t2vu("models")[1].split("The installed diffusers")
    assert "WanPipeline" in listed
    assert "PipelineOfTheFuture" not in listed
    assert "PipelineOfTheFuture" in lacking


class CancelAt:
    """A progress callback that cancels at the first event of a stage."""

    def __init__(self, stage: str) -> None:
        self.stage, self.after = stage, 0

    def __call__(self, progress: TrainProgress) -> None:
        if progress.stage == self.stage:
            self.after += 1
            raise Cancelled


def test_a_cancel_ends_the_encoding_of_prompts() -> None:
    cancel = CancelAt("encoding")
    with pytest.raises(Cancelled):
        erase_velocity(TINY.model, WORDS[:40], recipe(), on_progress=cancel)
    assert cancel.after == 1


def test_a_cancel_ends_the_encoding_of_images() -> None:
    cancel, images = CancelAt("encoding"), torch.rand(6, 3, 32, 48)
    asked = FewShotRecipe.preset("quick", steps=1, prompts=2, preserve_prompts=2)
    with pytest.raises(Cancelled):
        unlearn_encoder(TINY.model, "ghost", asked, images=images, on_progress=cancel)
    assert cancel.after == 1


@pytest.mark.parametrize("part", ["transformer", "text_encoder", "vae"])
def test_weights_that_hold_nan_are_named(t2vu: Callable, part: str, tmp_path: Path) -> None:
    model = load_model(bundled_folder("miniature"), device="cpu")
    folder = with_tokenizer(tmp_path / "model")
    with torch.no_grad():
        for weights in getattr(model.family.pipeline, part).parameters():
            weights.fill_(float("nan"))
    getattr(model.family.pipeline, part).save_pretrained(folder / part)
    code, _, error = t2vu("sample", "--model", folder, "--prompt", "a ghost", "--steps", 1, "--out", tmp_path / "a.mp4")
    assert (code, f"The weights of {part} in model hold NaN or inf" in error) == (2, True), error
    if part == "transformer":
        out = ("--out", tmp_path / "a")
        code, _, error = t2vu("erase", "--model", folder, "--concept", "ghost", "--preset", "quick", *out)
        assert (code, f"The weights of {part} in model hold NaN or inf" in error) == (2, True), error
