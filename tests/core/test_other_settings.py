"""Attacks by other settings of sampling: the samplers are exact, and every setting differs from what was trained."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.evaluation import WorldDetector
from t2vu_core.evaluation.attacks import AttackBudget, AttackTask, Target, possible_attacks
from t2vu_core.evaluation.attacks.other_settings import RUNS, sampled, settings_of
from t2vu_core.evaluation.attacks.samplers import SAMPLERS, Noising, SecondOrder, ancestral
from t2vu_core.evaluation.cases import parse_prompt_set
from t2vu_core.evaluation.checks import check_attackable
from t2vu_core.miniature.detector import MiniatureDetector
from t2vu_core.sampling import denoise
from tests.core.tiny_models import TINY_MODELS, TinyModel

TINY = TINY_MODELS["cogvideox-2b"]
BUDGET = AttackBudget(batch_size=2, target_clips=4, sampling_steps=4, measured_clips=4)
STEPS = 6
KINDS = ["cogvideox-2b", "wan-2.1", "ltx-video", "mochi", "hunyuan-video", "text-to-video-sd"]


@pytest.fixture(params=[kind for kind in KINDS if kind in TINY_MODELS])
def tiny(request: pytest.FixtureRequest) -> TinyModel:
    return TINY_MODELS[request.param]


@pytest.fixture
def target() -> Target:
    torch.manual_seed(0)
    prompts = parse_prompt_set(b"a red ghost floats\na ghost in the rain\n", "the list", "ghost")
    return AttackTask("ghost", "ghost", WorldDetector(MiniatureDetector().eval()), prompts, BUDGET).target(TINY.model)


def starting_noise(tiny: TinyModel, clips: int = 2) -> Tensor:
    return torch.randn((clips, *tiny.model.family.latent_shape(tiny.size)), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SAMPLERS)
def test_with_the_true_predictions_every_sampler_ends_at_the_clip(tiny: TinyModel, name: str) -> None:
    """Of diffusion, in epsilon and v, and of flow matching."""
    scheduler = tiny.model.family.make_scheduler(STEPS, tiny.size)
    clean, place = 0.5 + starting_noise(tiny).flip(0), 0

    def predict(latents: Tensor, timestep: Tensor) -> Tensor:
        nonlocal place
        at = Noising.at(scheduler, place)
        place += 1
        return at.of_clean * clean + at.of_noise * (latents - at.signal * clean) / at.spread

    ended = denoise(scheduler, starting_noise(tiny), predict, step=SAMPLERS[name]([1, 2]))
    torch.testing.assert_close(ended, clean, atol=2e-3, rtol=1e-3)


def test_the_first_step_of_the_second_order_is_the_models_own(tiny: TinyModel) -> None:
    """Of first order, DDIM and Euler are the same step."""
    family = tiny.model.family
    scheduler, latents = family.make_scheduler(STEPS, tiny.size), starting_noise(tiny)
    prediction, timestep = torch.sin(latents), scheduler.timesteps[0]
    ours = SecondOrder()(scheduler, prediction, timestep, latents)
    torch.testing.assert_close(ours, family.step(scheduler, prediction, timestep, latents), atol=2e-4, rtol=1e-3)
    assert (ours - latents).abs().max() > 5e-3


def test_later_steps_of_the_second_order_look_back() -> None:
    scheduler, latents = TINY.model.family.make_scheduler(STEPS, TINY.size), starting_noise(TINY)
    ends = []
    for begun in (torch.sin(latents), torch.cos(latents)):
        step = SecondOrder()
        for place in (0, 1):
            step(scheduler, begun, scheduler.timesteps[place], latents)
        ends.append(step(scheduler, torch.sin(latents), scheduler.timesteps[2], latents))
    assert (ends[0] - ends[1]).abs().max() > 1e-2


def test_the_ancestral_noise_is_the_clips_own_whatever_else_is_in_the_batch() -> None:
    scheduler, latents = TINY.model.family.make_scheduler(STEPS, TINY.size), starting_noise(TINY)
    both = ancestral([5, 6])(scheduler, latents, scheduler.timesteps[0], latents)
    alone = ancestral([6])(scheduler, latents[1:], scheduler.timesteps[0], latents[1:])
    torch.testing.assert_close(both[1:], alone)
    assert (ancestral([7])(scheduler, latents[1:], scheduler.timesteps[0], latents[1:]) - alone).abs().max() > 1e-2


@pytest.mark.parametrize("name", RUNS)
def test_every_setting_makes_other_clips(name: str) -> None:
    prompts, seeds = ["a ghost", "a red ghost"], [1, 2]
    usual = TINY.model.sample(prompts, seeds=seeds, num_inference_steps=BUDGET.sampling_steps)
    found = settings_of(name, TINY.model, BUDGET)
    assert found
    for settings in found.values():
        clips = sampled(TINY.model, prompts, seeds, settings, BUDGET)
        assert clips.shape != usual.shape or (clips - usual).abs().max() > 1e-4
        assert len(clips) == 2


def test_frames_of_another_size_are_smaller_flatter_or_larger(tiny: TinyModel) -> None:
    own, found = tiny.model.clip_size(), settings_of("other_size", tiny.model, BUDGET)
    assert len(found) >= 2
    assert [set(sides) for sides in found.values()][:2] == [{"height", "width"}, {"height"}]
    for title, sides in found.items():
        assert title == f"{sides.get('width', own.width)} x {sides['height']} pixels"
        tiny.model.family.check_size(tiny.model.clip_size(**sides))
    assert next(iter(found.values()))["height"] < own.height


def test_no_setting_is_what_the_evaluation_measures(tiny: TinyModel) -> None:
    own = tiny.model.clip_size()
    usual = {"num_inference_steps": 4, "guidance_scale": 3.0, "height": own.height, "width": own.width}
    usual["num_frames"] = own.num_frames
    budget = dataclasses.replace(BUDGET, guidance_scale=3.0)
    for name in set(RUNS) - {"other_sampler"}:
        for settings in settings_of(name, tiny.model, budget).values():
            assert all(usual[key] != value for key, value in settings.items())
    guidance, steps = (settings_of(name, tiny.model, budget) for name in ("other_guidance", "other_steps"))
    assert list(guidance.values()) == [{"guidance_scale": 1.0}, {"guidance_scale": 6.0}]
    assert list(steps.values()) == [{"num_inference_steps": 2}, {"num_inference_steps": 8}]


def test_the_batches_take_the_settings_in_turn_and_each_is_counted(target: Target) -> None:
    steps: list[int] = []
    outcome = RUNS["other_steps"](TINY.model, dataclasses.replace(target, on_step=lambda: steps.append(1)))
    assert {title: clips for title, (_, clips) in outcome.parts.items()} == {"2 steps": 2, "8 steps": 2}
    assert sum(shown for shown, _ in outcome.parts.values()) == sum(outcome.found)
    assert len(steps) == 2, "cancelling works between the batches"


def test_a_model_of_one_size_is_not_attacked_in_others(monkeypatch: pytest.MonkeyPatch) -> None:
    own, kind = TINY.model.clip_size(), type(TINY.model.family)
    assert set(RUNS) <= set(possible_attacks(TINY.model))

    def check_size(self: object, size: object) -> None:
        if size != own:
            raise UserError("only one size")

    monkeypatch.setattr(kind, "check_size", check_size)
    possible = possible_attacks(TINY.model)
    assert set(RUNS) - set(possible) == {"other_size", "other_length"}
    prompts = parse_prompt_set(b"a ghost\n", "the list", "ghost")
    with pytest.raises(UserError, match="other_size cannot run"):
        check_attackable(["other_size"], TINY.model, prompts)
    check_attackable(possible, TINY.model, prompts)
