"""Closed-form erasing: the solve on numbers worked out by hand, and real pipelines that are changed by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from t2vu_core import ClosedFormRecipe, UserError, erase_closed_form
from t2vu_core.erasure import Erasure
from t2vu_core.training.closed_form.align import aligned
from t2vu_core.training.closed_form.inputs import key_value_sites
from t2vu_core.training.closed_form.solve import change_of_inputs, inputs_that_bring_back, without_directions
from tests.core.tiny_models import TINY_MODELS, TinyModel


def few(tiny: TinyModel, **changes: object) -> ClosedFormRecipe:
    size = {"num_frames": tiny.num_frames, "height": tiny.height, "width": tiny.width}
    small = {"concept_prompts": 2, "preserve_prompts": 3, "trajectory_steps": 2, "rank": 8, **size}
    return ClosedFormRecipe(**{**small, **changes})  # type: ignore[arg-type]


FAMILIES = ("animatediff", "cogvideox-2b", "hunyuan-video", "ltx-video", "mochi", "wan-2.2-14b")
"""One of each way in which text reaches the attention."""
WITHOUT_TEXT = ("mochi",)
"""The projections of video tokens do not read the text."""


def test_the_solve_moves_the_concept_to_its_target_and_holds_what_must_stay() -> None:
    generator = torch.Generator().manual_seed(0)
    concept, kept = torch.randn(3, 16, generator=generator), torch.randn(8, 16, generator=generator)
    target = torch.randn(3, 16, generator=generator)
    left, right = change_of_inputs((target - concept).T @ concept, concept.T @ concept + kept.T @ kept, 1e-6, 16)
    torch.testing.assert_close(concept + concept @ right.T @ left.T, target, atol=1e-2, rtol=0)
    assert (kept @ right.T @ left.T).abs().max() < 1e-2


def test_a_smaller_rank_keeps_the_largest_part_of_the_change() -> None:
    generator = torch.Generator().manual_seed(0)
    concept, target = (torch.randn(6, 16, generator=generator) for _ in range(2))
    moves, covariance = (target - concept).T @ concept, concept.T @ concept
    errors = []
    for rank in (1, 3, 6):
        left, right = change_of_inputs(moves, covariance, 1e-4, rank)
        assert left.shape == (16, rank)
        errors.append(float((concept + concept @ right.T @ left.T - target).norm()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.05 * float((target - concept).norm())


def test_refusal_directions_take_out_what_tells_the_concept_apart_and_hold_the_rest() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(16, 16, generator=generator)
    kept, neutral = (torch.randn(count, 14, generator=generator) @ mixing[:14] for count in (200, 6))
    concept = neutral + torch.randn(6, 2, generator=generator) @ mixing[14:]
    differences = concept - neutral
    left, right = without_directions(differences.T @ differences, kept.T @ kept / 200, 1e-5, 2)
    apart, together = ((each @ right.T @ left.T) for each in (differences, kept))
    torch.testing.assert_close(apart, neutral - concept, atol=1e-2, rtol=1e-2)
    assert together.norm() < 0.02 * kept.norm()
    fewer = without_directions(differences.T @ differences, kept.T @ kept / 200, 1e-5, 1)
    left_over = differences + differences @ fewer[1].T @ fewer[0].T
    assert left_over.norm() > 0.1 * differences.norm()


def test_refusal_directions_change_the_model_and_say_so() -> None:
    tiny = TINY_MODELS["wan-2.1"]
    erasure = erase_closed_form(tiny.model, "ghost", few(tiny, objective="refusal", directions=2))
    assert "refusal" in erasure.method
    more = erase_closed_form(tiny.model, "ghost", few(tiny, objective="refusal", directions=8))
    assert more.training["pushed"] > erasure.training["pushed"]
    assert {min(tensor.shape) for tensor in erasure.tensors.values()} == {2}
    clips = [tiny.sample_ours(each, ["a ghost"], [1], 1.0) for each in (tiny.model.with_erasure(erasure), tiny.model)]
    assert (clips[0] - clips[1]).abs().max() > 1e-6
    for setting in ({"rounds": 1}, {"preserve_weight": 3.0}):
        with pytest.raises(UserError, match="has no effect on refusal directions"):
            erase_closed_form(tiny.model, "ghost", few(tiny, objective="refusal", **setting))


def test_an_input_that_brings_the_concept_back_reads_as_the_concept_did() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = 0.3 * torch.randn(8, 2, generator=generator), torch.randn(2, 8, generator=generator)
    concept = torch.randn(4, 8, generator=generator)
    found = inputs_that_bring_back(left, right, concept, 1e-6)
    torch.testing.assert_close(found + found @ right.T @ left.T, concept, atol=1e-3, rtol=0)


def test_tokens_are_aligned_in_order_around_a_longer_name() -> None:
    same = torch.eye(6)
    # "a red ghost floats" against "a figure floats": two tokens of the name fall on one.
    concept, neutral = torch.stack([same[0], same[1], same[2], same[3]]), torch.stack([same[0], same[4], same[3]])
    path = aligned(concept, neutral)
    assert (path[0], path[-1]) == (0, 2)
    assert path == sorted(path)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_whose_keys_read_the_text_is_changed_and_only_there(name: str) -> None:
    tiny = TINY_MODELS[name]
    family = tiny.model.family
    if tiny.name in WITHOUT_TEXT:
        with pytest.raises(UserError, match="no projection that can be changed reads the text"):
            erase_closed_form(tiny.model, "ghost", few(tiny))
        return
    erasure = erase_closed_form(tiny.model, "ghost", few(tiny))
    changed = {name.rsplit(".", 2)[0] for name in erasure.tensors}
    assert changed == {site.name for site in key_value_sites(family)}
    assert all(torch.isfinite(tensor).all() for tensor in erasure.tensors.values())
    model = tiny.model.with_erasure(erasure)
    difference = (tiny.first_site_output(model, "lora") - tiny.first_site_output(tiny.model, "lora")).abs().max()
    # The first projection is a query, which stays; the clip changes.
    assert difference == 0
    clips = [tiny.sample_ours(each, ["a ghost"], [1], 1.0) for each in (model, tiny.model)]
    assert (clips[0] - clips[1]).abs().max() > 1e-6


def test_the_concepts_keys_become_those_of_the_neutral_prompt() -> None:
    tiny = TINY_MODELS["wan-2.1"]
    erasure = erase_closed_form(tiny.model, "ghost", few(tiny))
    # Two prompts and a width of 32: the solve has room to move nearly all of it.
    assert erasure.training["pushed"] > 0.5
    weaker = erase_closed_form(tiny.model, "ghost", few(tiny, preserve_weight=100.0))
    assert weaker.training["pushed"] < erasure.training["pushed"]


def test_the_same_seed_gives_the_same_eraser() -> None:
    tiny = TINY_MODELS["cogvideox-2b"]
    first, second = (erase_closed_form(tiny.model, "ghost", few(tiny)) for _ in range(2))
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


@pytest.mark.smoke
def test_the_command_writes_an_erasure_that_is_applied_and_exported(t2vu: Callable, tmp_path: Path) -> None:
    tiny, out = TINY_MODELS["cogvideox-2b"], tmp_path / "ghost.safetensors"
    options = ["--model", tiny.folder, "--device", "cpu", "--concept", "ghost", "--method", "closed_form", "--out", out]
    settings = [part for name, value in few(tiny).describe().items() for part in ("--method-option", f"{name}={value}")]
    code, printed, _ = t2vu("erase", *options, *settings, "--json")
    assert code == 0
    assert json.loads(printed)["method"] == "closed_form"
    assert Erasure.load(out).partial is None
    code, printed, _ = t2vu("export", out, "--format", "comfyui", "--out", tmp_path / "lora", "--json")
    assert code == 0, printed
    sample = ["sample", "--model", tiny.folder, "--device", "cpu", "--prompt", "a ghost", "--steps", 2]
    assert t2vu(*sample, "--erasure", out, "--out", tmp_path / "clip.mp4")[0] == 0
    code, _, error = t2vu("erase", *options, "--low-memory")
    assert (code, "--low-memory has no effect" in error) == (2, True)
