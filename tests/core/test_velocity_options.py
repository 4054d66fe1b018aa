"""What a recipe can ask for beyond the plain method, on the tiny real classes: each option does what it says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Erasure
from t2vu_core.errors import Cancelled, UserError
from t2vu_core.families import HunyuanVideo15
from t2vu_core.objectives.velocity import guide, guided_unlearning_loss, unlearning_loss
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.prompts.two_subjects import two_subject_pairs
from t2vu_core.recipes import FewShotRecipe, VelocityRecipe
from t2vu_core.training.loop import step_generator
from t2vu_core.training.progress import TrainProgress
from t2vu_core.training.run import Run
from t2vu_core.training.velocity.batches import draw_batch
from t2vu_core.training.velocity.own_schedule import few_step_warning, schedule_line, trajectory_guidance
from t2vu_core.training.velocity.train import erase_velocity
from tests.core.tiny_models import TINY_MODELS
from tests.core.tiny_training import FEW, points_of, recipe

TINY = TINY_MODELS["cogvideox-2b"]


def test_a_call_that_localises_without_a_kind_takes_a_bottleneck_as_it_did_before_loras_were_usual() -> None:
    assert VelocityRecipe.preset("balanced", localization_weight=1.0).kind == "bottleneck"
    assert VelocityRecipe.preset("balanced", localization_weight=0.0).kind == "lora"
    with pytest.raises(UserError, match="localization_weight needs kind=bottleneck"):
        VelocityRecipe.preset("balanced", localization_weight=1.0, kind="lora")


def test_a_lora_is_trained_saved_and_applied(tmp_path: Path) -> None:
    erasure = erase_velocity(TINY.model, "ghost", recipe(kind="lora", learning_rate=1e-2))
    assert all("lora_" in name for name in erasure.tensors)
    assert any(tensor.abs().max() > 0 for name, tensor in erasure.tensors.items() if "lora_B" in name)
    loaded = Erasure.load(erasure.save(tmp_path / "ghost"))
    assert loaded.recipe["kind"] == "lora"
    plain = TINY.sample_ours(TINY.model, ["a ghost"], [1], 3.0)
    erased = TINY.sample_ours(TINY.model.with_erasure(loaded), ["a ghost"], [1], 3.0)
    assert not torch.equal(plain, erased)


@pytest.mark.parametrize(
    "changes",
    [
        {"timestep_sampling": "early"},
        {"timestep_sampling": "middle"},
        {"timestep_sampling": "late"},
        {"guided_objective": True},
        {"two_subject_trajectories": 2},
        {"refresh_every": 2},
        {"neutral_share": 0.0},
        {"mixed_share": 0.0},
        {"clip_start_share": 1.0},
        {"reference": "empty"},
        {"adversarial_steps": 2},
        {"probe_rounds": 2, "probe_steps": 2},
        {"localization_weight": 1.0, "mask_threshold": 0.0},
        {"localization_weight": 1.0, "mask_source": "attention", "mask_layers": "middle"},
        {
            "localization_weight": 1.0, "two_subject_trajectories": 2, "guided_objective": True, "refresh_every": 3,
            "adversarial_steps": 1, "probe_rounds": 2, "probe_steps": 1, "gradient_checkpointing": True,
        },
    ],
    ids=lambda changes: "+".join(changes),
)  # fmt: skip
def test_each_option_changes_the_training_and_is_told_in_the_file(changes: dict[str, Any]) -> None:
    other = erase_velocity(TINY.model, "ghost", recipe(**changes))
    plain = erase_velocity(TINY.model, "ghost", recipe(kind=other.recipe["kind"]))
    assert plain.training["losses"][1:] != other.training["losses"][1:]
    assert all(torch.isfinite(tensor).all() for tensor in other.tensors.values())
    assert {name: other.recipe[name] for name in changes} == changes


def test_an_eraser_is_trained_on_shorter_clips_than_it_is_used_on() -> None:
    seen: list[Tensor] = []

    def look(done: TrainProgress) -> None:
        if done.stage == "mask" and done.preview is not None:
            seen.append(done.preview()[0])

    short = recipe(num_frames=1, localization_weight=1.0, steps=2)
    erasure = erase_velocity(TINY.model, "ghost", short, show_mask=True, on_progress=look)
    assert [len(clip) for clip in seen] == [1]
    assert erasure.training["trajectory_bytes"] < erase_velocity(TINY.model, "ghost", recipe()).training["trajectory_bytes"]
    assert len(TINY.sample_ours(TINY.model.with_erasure(erasure), ["a ghost"], [1], 3.0)[0]) > 1
    with pytest.raises(UserError, match="cannot make 48 x 30 pixels"):
        erase_velocity(TINY.model, "ghost", recipe(height=30))


@pytest.mark.parametrize("how", ["uniform", "early"])
def test_a_batch_too_small_for_every_part_of_the_kept_points_trains(how: str) -> None:
    erasure = erase_velocity(TINY.model, "ghost", recipe(preserve_batch=1, timestep_sampling=how, steps=2))
    assert len(erasure.training["losses"]) == 2


def test_without_a_weight_nothing_is_sampled_or_computed_for_preservation() -> None:
    stages: list[TrainProgress] = []
    weightless = erase_velocity(TINY.model, "ghost", recipe(preserve_weight=0.0, steps=2), on_progress=stages.append)
    assert {progress.total for progress in stages if progress.stage == "trajectories"} == {FEW["concept_trajectories"]}
    batchless = erase_velocity(TINY.model, "ghost", recipe(preserve_batch=0, steps=2))
    assert weightless.training["losses"] == batchless.training["losses"]


def test_gradient_checkpointing_trains_the_same_erasure() -> None:
    plain = erase_velocity(TINY.model, "ghost", recipe(localization_weight=1.0))
    again = erase_velocity(TINY.model, "ghost", recipe(localization_weight=1.0, gradient_checkpointing=True))
    for name, tensor in plain.tensors.items():
        torch.testing.assert_close(again.tensors[name], tensor, atol=1e-4, rtol=1e-3)


def test_early_points_are_drawn_near_the_noise_and_late_ones_near_the_clip() -> None:
    concept = points_of(TINY, recipe(trajectory_steps=10)).concept
    generator = torch.Generator().manual_seed(0)
    mean = {how: concept.progress[concept.draw(4000, how, generator)].mean() for how in ("uniform", "early", "middle", "late")}
    assert mean["early"] + 0.1 < mean["uniform"] < mean["late"] - 0.1
    assert abs(mean["middle"] - mean["uniform"]) < 0.05
    drawn = concept.progress[concept.draw(4000, "middle", generator)]
    assert drawn.std() < concept.progress.std() - 0.02
    assert set(concept.progress[concept.draw(4000, "late", generator)].tolist()) == set(concept.progress.tolist())


def test_the_guided_loss_is_the_plain_one_where_the_empty_prompt_stayed_and_sees_where_it_did_not() -> None:
    student, target, empty = torch.randn(3, 2, 4).unbind()
    same = guided_unlearning_loss(student, empty, target, empty, 6.0)
    torch.testing.assert_close(same, unlearning_loss(student, target))
    # An eraser that moves both answers alike moves the guided one just once.
    moved = guided_unlearning_loss(target + 1.0, empty + 1.0, target, empty, 6.0)
    torch.testing.assert_close(moved, torch.tensor(1 / 36))


@pytest.mark.parametrize(
    ("context", "alone"),
    [
        ("{} and a cat sleeping", "a cat sleeping"),
        ("a cat and {} are rising against a sunset", "a cat is rising against a sunset"),
        ("in sepia style, {} and a car not moving", "in sepia style, a car not moving"),
    ],
)
def test_the_other_subject_stays_when_the_concept_is_taken_out(context: str, alone: str) -> None:
    pairs = two_subject_pairs(["a ghost"], ["ghost"], [context, "{} on a hill"], [], count=9, seed=0)
    assert [(pair.prompt, pair.neutral) for pair in pairs] == [(context.format("a ghost"), alone)]


def test_two_subject_prompts_are_made_of_preserve_prompts_where_the_set_has_none() -> None:
    pairs = two_subject_pairs(
        ["a ghost"], ["ghost"], ["{}"], ["a dog running", "waves", "a ghost and a dog", "a ghost town"], count=9, seed=0
    )
    assert [(pair.prompt, pair.neutral) for pair in pairs] == [("a ghost and a dog running", "a dog running")]


def test_two_subjects_make_no_sense_for_a_style_and_do_not_stop_it() -> None:
    erasure = erase_velocity(TINY.model, "in pixel art style", recipe(two_subject_trajectories=2))
    assert erasure.training["steps"] == 6


def stopped_at(step: int) -> Any:
    def stop(progress: TrainProgress) -> None:
        if progress.stage == "training" and progress.step == step:
            raise Cancelled

    return stop


@pytest.mark.parametrize("step", [2, 3, 5])
def test_on_policy_training_resumes_bit_for_bit(tmp_path: Path, step: int) -> None:
    asked = recipe(refresh_every=2, steps=8, learning_rate=1e-2)
    whole = erase_velocity(TINY.model, "ghost", asked)
    with pytest.raises(Cancelled):
        erase_velocity(TINY.model, "ghost", asked, log_folder=tmp_path, on_progress=stopped_at(step))
    resumed = erase_velocity(TINY.model, "ghost", asked, log_folder=tmp_path)
    assert whole.training["losses"] == resumed.training["losses"]
    assert all(torch.equal(whole.tensors[name], resumed.tensors[name]) for name in whole.tensors)


def test_the_neutral_way_stays_neutral_when_the_others_go_the_students() -> None:
    from t2vu_core.training.velocity.points import refreshed

    asked = recipe(concept_trajectories=4, neutral_share=0.5)
    points, family = points_of(TINY, asked), TINY.model.family
    new, student = EraserSet.create(family.eraser_sites(), rank=4, seed=0), TINY.random_erasers("bottleneck", scale=0.5)
    own, led = (refreshed(Run(family, asked), points, erasers, 1).concept for erasers in (new, student))
    assert [torch.equal(*ends) for ends in zip(own.ends, led.ends, strict=True)].count(True) == 2


def test_a_small_batch_keeps_neutral_and_empty_prompts_too() -> None:
    """Who trains a large model with --low-memory has two rows a step for all that is to be kept."""
    points = points_of(TINY, recipe())
    empty = points.prompts.conditions["empty"].embeds_BSD[0]
    for batch in (1, 2, 8):
        drawn = [draw_batch(points, recipe(preserve_batch=batch), step_generator(0, step)).keep for step in range(60)]
        rows = [row for keep in drawn if keep is not None for row in keep.condition.embeds_BSD]
        assert len(rows) == 60 * batch
        without = sum(torch.equal(row, empty) for row in rows) / len(rows)
        assert 0.1 < without < 0.4, "a quarter"


def test_on_policy_points_lie_where_the_student_goes_and_targets_stay_the_frozen_models() -> None:
    from t2vu_core.training.velocity.points import refreshed

    asked, points, family = recipe(), points_of(TINY, recipe()), TINY.model.family
    own = refreshed(Run(family, asked), points, EraserSet.create(family.eraser_sites(), rank=4, seed=0), 1)
    student = TINY.random_erasers("bottleneck", scale=0.5)
    led = refreshed(Run(family, asked), points, student, 1)
    first, later = own.concept.progress == 0, own.concept.progress > 0
    assert torch.equal(led.concept.latents[first], own.concept.latents[first])
    assert not torch.equal(led.concept.latents[later], own.concept.latents[later])
    for name in ("prompt", "neutral", "empty"):
        assert torch.equal(led.concept.predictions[name][first], own.concept.predictions[name][first])


def test_a_share_of_the_trajectories_goes_the_neutral_prompts_way_and_the_one_to_be_looked_at_never() -> None:
    counts, few = {}, {"concept_trajectories": 6, "trajectory_steps": 3}
    alone = points_of(TINY, recipe(**few, neutral_share=0.0)).concept
    for share in (0.5, 1.0):
        mixed = points_of(TINY, recipe(**few, neutral_share=share)).concept
        went = [not torch.equal(ours, theirs) for ours, theirs in zip(mixed.ends, alone.ends, strict=True)]
        counts[share] = sum(went)
        assert not went[0]
        assert torch.equal(mixed.latents[:6], alone.latents[:6])
        assert all(torch.equal(mixed.predictions[name][:6], alone.predictions[name][:6]) for name in alone.predictions)
        # The way is the neutral prompt's: guidance from nothing towards it, a step of the same scheduler.
        family, row = TINY.model.family, went.index(True)
        guided = guide(mixed.predictions["neutral"][row], mixed.predictions["empty"][row], recipe().guidance_scale)
        scheduler = family.make_scheduler(3, TINY.size)
        stepped = family.step(scheduler, guided[None].float(), mixed.timesteps[row], mixed.latents[row][None].float())
        torch.testing.assert_close(stepped[0], mixed.latents[6 + row].float(), rtol=0.02, atol=0.02)
    assert counts == {0.5: 3, 1.0: 5}


def test_the_preset_paper_is_the_published_recipe_and_for_velocity_erasing_only() -> None:
    paper = VelocityRecipe.preset("paper")
    assert (paper.rank, paper.learning_rate, paper.eta, paper.steps) == (128, 1e-4, 7.0, 500)
    assert (paper.reference, paper.mask_source, paper.localization_weight) == ("empty", "attention", 1.0)
    assert not paper.preserves
    assert (paper.kind, VelocityRecipe().kind) == ("bottleneck", "lora")
    erasure = erase_velocity(TINY.model, "ghost", VelocityRecipe.preset("paper", **{**FEW, "steps": 2, "eta": 7.0}))
    assert erasure.recipe["reference"] == "empty"
    with pytest.raises(UserError, match="no preset 'paper'; choose one of quick, balanced, thorough"):
        FewShotRecipe.preset("paper")


def test_a_target_against_the_empty_prompt_is_the_papers() -> None:
    points = points_of(TINY, recipe())
    rows = draw_batch(points, recipe(reference="empty", eta=7.0), step_generator(0, 0)).erase
    assert rows.concept is not None
    assert rows.empty is not None
    torch.testing.assert_close(rows.target, rows.empty - 7.0 * (rows.concept - rows.empty))


def test_a_model_distilled_from_guidance_goes_its_own_way() -> None:
    asked = recipe(guidance_scale=3.0)
    guidance = {name: trajectory_guidance(tiny.model.family, asked) for name, tiny in TINY_MODELS.items()}
    assert guidance.pop("hunyuan-video") == TINY_MODELS["hunyuan-video"].model.family.defaults.guidance_scale == 1.0
    assert set(guidance.values()) == {3.0}
    own = trajectory_guidance(TINY_MODELS["wan-2.1"].model.family, recipe(guidance_scale=0))
    assert own == TINY_MODELS["wan-2.1"].model.family.defaults.guidance_scale


@pytest.mark.parametrize(
    ("name", "few_steps"),
    [("hunyuan-video", {"trajectory_steps": 3}), ("wan-2.1", {"trajectory_steps": 4, "guidance_scale": 1.0})],
    ids=["guidance as an input", "four steps"],
)
def test_the_trajectories_of_a_distilled_model_are_its_own_samplings(name: str, few_steps: dict[str, Any]) -> None:
    tiny = TINY_MODELS[name]
    family, asked = tiny.model.family, recipe(**few_steps, concept_trajectories=1, preserve_trajectories=1)
    points, steps = points_of(tiny, asked), few_steps["trajectory_steps"]
    condition = points.prompts.conditions["concept"]
    from t2vu_core.sampling import denoise, guided, noise
    from t2vu_core.training.velocity.points import first_seed

    latents, scheduler = noise(family, tiny.size, [first_seed(asked)]), family.make_scheduler(steps, tiny.size)
    assert type(scheduler) is type(family.pipeline.scheduler)
    assert torch.equal(points.concept.timesteps, scheduler.timesteps.cpu().to(points.concept.timesteps))
    with torch.no_grad(), family.mixed_precision():
        plain = guided(family, tiny.size, condition, None, 1.0)
        latents = denoise(scheduler, latents, plain, step=family.step)
    torch.testing.assert_close(points.concept.ends.float(), latents, atol=0.03, rtol=0.03)


def test_trajectories_have_no_more_steps_than_the_model_is_sampled_with(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, asked = TINY_MODELS["wan-2.1"], recipe(trajectory_steps=10, concept_trajectories=1, preserve_trajectories=1)
    family, own = tiny.model.family, type(tiny.model.family).defaults
    assert few_step_warning("Wan2.1-lightning-4steps", family, asked)
    assert few_step_warning("Wan2.1-T2V-1.3B", family, asked) is None
    few = dataclasses.replace(own.fget(family), num_inference_steps=4, guidance_scale=1.0)  # type: ignore[attr-defined]
    monkeypatch.setattr(type(family), "defaults", property(lambda _: dataclasses.replace(few, size=tiny.size)))
    points = points_of(tiny, asked)
    assert torch.equal(points.concept.timesteps.float(), family.make_scheduler(4, tiny.size).timesteps.cpu().float())
    assert "4 steps at guidance 1, for a model" in schedule_line(family, asked)
    assert few_step_warning("Wan2.1-lightning-4steps", family, asked) is None


def test_several_concepts_are_trained_into_one_erasure(tmp_path: Path) -> None:
    own = ["a clown at night", "a ghost in the rain", "an empty street"]
    erasure = erase_velocity(
        TINY.model, ConceptRequest(("ghost", "clown"), concept_prompts=own), recipe(concept_trajectories=8)
    )
    assert erasure.concepts == ("ghost", "clown")
    prompts = [prompt for prompt, _ in erasure.prompts["pairs"]]
    assert prompts[:2] == ["a ghost in the rain", "a clown at night"], "each concept gets the prompts that say it"
    for name in ("ghost", "clown"):
        assert sum(name in prompt for prompt in prompts) >= 3
        assert not any(name in text for text in erasure.prompts["preserve"])
    loaded = Erasure.load(erasure.save(tmp_path / "both"))
    assert TINY.model.with_erasure(loaded).erasures[0].erasure.concepts == ("ghost", "clown")
    with pytest.raises(UserError, match="whose synonym 'phantom' is"):
        erase_velocity(TINY.model, ConceptRequest(["ghost", "clown"], synonyms=["phantom"]), recipe())
    with pytest.raises(UserError, match="concept is empty"):
        erase_velocity(TINY.model, [], recipe())


def test_one_concept_in_a_list_is_that_concept() -> None:
    alone, listed = (erase_velocity(TINY.model, concept, recipe()) for concept in ("ghost", ["ghost", " ghost "]))
    assert alone.training["losses"] == listed.training["losses"]
    assert alone.prompts == listed.prompts


def test_a_distilled_hunyuan_video_1_5_goes_its_own_way_without_guidance() -> None:
    stock = TINY_MODELS["hunyuan-video-1.5"].stock()
    assert HunyuanVideo15(stock).defaults.guidance_scale == 6.0
    assert trajectory_guidance(HunyuanVideo15(stock), recipe(guidance_scale=3.0)) == 3.0
    stock.guider = diffusers.ClassifierFreeGuidance(guidance_scale=6.0, enabled=False)
    assert HunyuanVideo15(stock).defaults.guidance_scale == 1.0
    assert trajectory_guidance(HunyuanVideo15(stock), recipe(guidance_scale=3.0)) == 1.0
