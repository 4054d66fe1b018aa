"""Erasers of both kinds on every architecture: they act, train, save, and leave no trace."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.families.eraser_site import EraserKind
from t2vu_core.model import load_model
from tests.core.tiny_models import TINY_MODELS, TinyModel

PROMPTS = ["a red ghost floats over a quiet green hill", "a street in pixel art style"]


@pytest.fixture(params=["bottleneck", "lora"])
def kind(request: pytest.FixtureRequest) -> EraserKind:
    return request.param


def test_an_erasure_acts_by_its_strength_and_leaves_no_trace(tiny: TinyModel, kind: EraserKind) -> None:
    model, erasure = tiny.model, tiny.random_erasure(kind)
    weights = {name: tensor.clone() for name, tensor in base_weights(tiny).items()}
    before = tiny.sample_ours(model, PROMPTS[:1], [1], tiny.guidance_scale)
    models = [model.with_erasure(erasure, strength) for strength in (0.0, 0.5, 1.0)]
    clips = [tiny.sample_ours(each, PROMPTS[:1], [1], tiny.guidance_scale) for each in models]
    assert torch.equal(clips[0], before)
    assert all((clip - before).norm() > 1e-2 for clip in clips[1:])
    none, half, full = (tiny.first_site_output(each, kind) for each in models)
    assert (full - none).abs().max() > 1e-3
    torch.testing.assert_close(half - none, (full - none) / 2, atol=1e-5, rtol=1e-4)
    assert torch.equal(tiny.sample_ours(model, PROMPTS[:1], [1], tiny.guidance_scale), before)
    after = base_weights(tiny)
    assert list(after) == list(weights)
    assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())


def base_weights(tiny: TinyModel) -> dict[str, Tensor]:
    denoisers = tiny.model.family.denoisers.items()
    return {f"{name}.{key}": tensor for name, denoiser in denoisers for key, tensor in denoiser.state_dict().items()}


def test_a_saved_erasure_makes_the_same_clip(tiny: TinyModel, kind: EraserKind, tmp_path: Path) -> None:
    erasure = tiny.random_erasure(kind)
    loaded = Erasure.load(erasure.save(tmp_path / "ghost"))
    clips = [tiny.sample_ours(tiny.model.with_erasure(each), PROMPTS[:1], [1], 1.0) for each in (erasure, loaded)]
    assert torch.equal(*clips)


def test_an_erasure_of_another_family_or_size_is_refused(tiny: TinyModel, kind: EraserKind) -> None:
    erasure = tiny.random_erasure(kind)
    for other in TINY_MODELS.values():
        if other.family != tiny.family:
            with pytest.raises(UserError, match=f"{tiny.family} family"):
                other.model.with_erasure(erasure)
    wider = {key: torch.ones([length + 1 for length in tensor.shape]) for key, tensor in erasure.tensors.items()}
    elsewhere = {f"elsewhere.{key}": tensor for key, tensor in erasure.tensors.items()}
    for tensors in (wider, elsewhere):
        with pytest.raises(UserError, match="does not fit"):
            tiny.model.with_erasure(dataclasses.replace(erasure, tensors=tensors))
    for tensors in ({}, {"x": torch.ones(2)}, dict(list(erasure.tensors.items())[1:])):
        with pytest.raises(UserError):
            tiny.model.with_erasure(dataclasses.replace(erasure, tensors=tensors))


def test_an_erasure_of_other_weights_is_refused_unless_allowed(tiny: TinyModel, kind: EraserKind) -> None:
    erasure = tiny.random_erasure(kind)
    other = load_model(tiny.folder, device="cpu")
    site = other.family.lora_sites()[-1]
    with torch.no_grad():
        site.module.weight[0, 0] += 1.0
    with pytest.raises(UserError, match="weights differ"):
        other.with_erasure(erasure)
    allowed = other.with_erasure(erasure, allow_other_base=True)
    assert len(allowed.erasures) == 1


def test_gradient_checkpointing_gives_the_same_gradients(tiny: TinyModel, kind: EraserKind) -> None:
    plain = gradients(tiny, kind, checkpointing=False)
    again = gradients(tiny, kind, checkpointing=True)
    assert any(gradient.abs().max() > 0 for gradient in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, atol=1e-7, rtol=1e-5)
    assert not any(denoiser.is_gradient_checkpointing for denoiser in tiny.model.family.denoisers.values())


def gradients(tiny: TinyModel, kind: EraserKind, *, checkpointing: bool) -> dict[str, Tensor]:
    family = tiny.model.family
    erasers = tiny.random_erasers(kind, scale=0.1).requires_grad_(True)
    latents, timesteps = training_point(tiny)
    saved: list[int] = []
    checkpointed = family.gradient_checkpointing() if checkpointing else contextlib.nullcontext()
    counting = torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(1) or tensor, lambda tensor: tensor)
    with checkpointed, erasers.attached(tiny.sites(kind)):
        with counting:
            prediction = family.predict(latents, timesteps, family.encode(PROMPTS), tiny.size)
        prediction.square().mean().backward()
    SAVED[tiny.name, kind, checkpointing] = len(saved)
    if checkpointing:
        assert len(saved) < SAVED[tiny.name, kind, False] / 2, "nothing was checkpointed"
    return {name: parameter.grad for name, parameter in erasers.named_parameters()}


SAVED: dict[tuple[str, str, bool], int] = {}


def training_point(tiny: TinyModel) -> tuple[Tensor, Tensor]:
    """Noise at the first and at the last step, so that every denoiser takes part."""
    latents = torch.randn(2, *tiny.model.family.latent_shape(tiny.size), generator=torch.Generator().manual_seed(0))
    return latents, tiny.model.family.make_scheduler(tiny.steps, tiny.size).timesteps[[0, -1]]


def test_a_short_training_lowers_the_loss_and_moves_only_the_erasers(tiny: TinyModel, kind: EraserKind) -> None:
    family, sites = tiny.model.family, tiny.sites(kind)
    weights = {name: tensor.clone() for name, tensor in base_weights(tiny).items()}
    erasers = EraserSet.create(sites, rank=4, seed=0)
    start = {name: parameter.detach().clone() for name, parameter in erasers.named_parameters()}
    latents, timesteps = training_point(tiny)
    condition = family.encode(PROMPTS)
    with torch.no_grad():
        frozen = family.predict(latents, timesteps, condition, tiny.size)
        with tiny.random_erasers("bottleneck", scale=0.3).attached(family.eraser_sites()):
            target = family.predict(latents, timesteps, condition, tiny.size)
    optimizer = torch.optim.Adam(erasers.parameters(), lr=1e-2)
    losses = []
    with erasers.attached(sites):
        for step in range(10):
            prediction = family.predict(latents, timesteps, condition, tiny.size)
            if step == 0:
                torch.testing.assert_close(prediction.detach(), frozen, atol=0, rtol=0)
            loss = (prediction - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(
        not torch.equal(parameter, start[name]) for name, parameter in erasers.named_parameters() if "lora_A" not in name
    )
    assert all(torch.equal(tensor, weights[name]) for name, tensor in base_weights(tiny).items())


def test_two_erasures_on_one_place_both_act(tiny: TinyModel) -> None:
    first, second = tiny.random_erasure("bottleneck"), tiny.random_erasure("lora")
    models = [tiny.model.with_erasure(first), tiny.model.with_erasure(second)]
    both = models[0].with_erasure(second)
    clips = [tiny.sample_ours(model, PROMPTS[:1], [1], 1.0) for model in (*models, both)]
    assert all((clips[2] - clip).abs().max() > 1e-4 for clip in clips[:2])
