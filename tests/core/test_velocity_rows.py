"""The rows of a velocity step on the tiny real classes: mixed and hardened texts, and points that start from clips."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from t2vu_core.families.text_condition import TextCondition
from t2vu_core.training.loop import step_generator
from t2vu_core.training.noising import add_noise
from t2vu_core.training.velocity.aligned import aligned_neutral
from t2vu_core.training.velocity.batches import draw_batch
from t2vu_core.training.velocity.clip_starts import redirected
from t2vu_core.training.velocity.soft_tokens import soft_token_attack
from tests.core.tiny_models import TINY_MODELS, TinyModel
from tests.core.tiny_training import points_of, recipe

TINY = TINY_MODELS["cogvideox-2b"]


def test_mixed_texts_have_tokens_of_both_prompts_and_keep_masked_padding(tiny: TinyModel) -> None:
    points = points_of(tiny, recipe())
    conditions = points.prompts.conditions
    plain, mixed = (
        draw_batch(points, recipe(concept_batch=4, mixed_share=share), step_generator(0, 3)).erase for share in (0.0, 0.5)
    )
    assert mixed.prompt is not None
    assert torch.equal(plain.prompt, mixed.prompt), "the same points"
    concept, aligned = (conditions[name][mixed.prompt] for name in ("concept", "aligned"))
    own, other = ((mixed.condition.embeds_BSD == part.embeds_BSD).all(-1) for part in (concept, aligned))
    assert (own | other).all()
    assert own[2:].all()
    assert not own[:2].all()
    if concept.mask_BS is not None:
        assert mixed.condition.mask_BS is not None
        assert torch.equal(mixed.condition.mask_BS, concept.mask_BS)
        assert own[~concept.mask_BS.bool()].all()


CHANGED = [
    ("a ghost on a green hill", "an empty and very quiet scene on a green hill"),
    ("a ghost and a cat on a green hill", "a cat on a green hill"),
    ("in noir style, a cat on a green hill", "a cat on a green hill"),
]


@pytest.mark.parametrize("pair", CHANGED, ids=["longer", "shorter", "first words"])
@pytest.mark.parametrize("name", ["cogvideox-2b", "wan-2.1", "hunyuan-video", "animatediff"])
def test_outside_the_concept_every_token_of_the_neutral_text_stands_at_its_own_place(name: str, pair: tuple[str, str]) -> None:
    family = TINY_MODELS[name].model.family
    concept, neutral = family.encode(pair[:1]), family.encode(pair[1:])
    own, other = (family.token_pieces(text) for text in pair)
    aligned = aligned_neutral(family, [pair], concept, neutral)
    tail = family.token_pieces(" a green hill")
    words = [piece for piece in tail if piece]
    last, after = len(own) - own[::-1].index(words[-1]), len(other) - other[::-1].index(words[-1])
    behind = range(last - len(words), last)
    assert all(own[place] == piece for place, piece in zip(behind, words, strict=True))
    shift = after - last
    assert [other[place] for place in behind if place < len(other)] != words, "without alignment these are other words"
    for place in behind:
        assert torch.equal(aligned.embeds_BSD[0, place], neutral.embeds_BSD[0, place + shift])
    assert aligned.embeds_BSD.shape == concept.embeds_BSD.shape
    special = [place for place, piece in enumerate(own) if not piece and place >= last]
    for place in special:
        assert torch.equal(aligned.embeds_BSD[0, place], neutral.embeds_BSD[0, place + shift])


def test_the_pieces_of_a_text_are_its_tokens_in_order(tiny: TinyModel) -> None:
    family, text = tiny.model.family, "a red ghost floats over a quiet green hill"
    pieces = family.token_pieces(text)
    assert all(piece in text for piece in pieces)
    named = family.concept_positions(text, "ghost")
    assert "ghost" in "".join(pieces[place] for place in named)
    assert len(pieces) <= family.encode([text]).embeds_BSD.shape[1]


def test_soft_tokens_bring_the_frozen_models_answer_closer_within_their_radius(tiny: TinyModel) -> None:
    family = tiny.model.family
    prompt = ["a red ghost floats over a quiet green hill"]
    condition, positions = family.encode(prompt), [family.concept_positions(prompt[0], "ghost")]
    latents = torch.randn(1, *family.latent_shape(tiny.size), generator=torch.Generator().manual_seed(0))
    timesteps = family.make_scheduler(tiny.steps, tiny.size).timesteps[:1]

    def predict(asked: TextCondition) -> Tensor:
        with family.mixed_precision():
            return family.predict(latents, timesteps, asked, tiny.size)

    def distance(asked: TextCondition) -> float:
        with torch.no_grad():
            return float((predict(asked) - frozen).square().mean())

    with torch.no_grad():
        frozen = family.predict(latents, timesteps, condition, tiny.size)
    with tiny.random_erasers("bottleneck", scale=0.3).attached(family.eraser_sites()):
        plain = distance(condition)
        everywhere = soft_token_attack(predict, condition, frozen, [[]], steps=6, radius=0.3)
        assert distance(everywhere) < plain
        attacked = soft_token_attack(predict, condition, frozen, positions, steps=6, radius=0.5)
    moved = (attacked.embeds_BSD - condition.embeds_BSD).norm(dim=-1)[0]
    assert sorted(moved.nonzero().flatten().tolist()) == positions[0]
    assert (moved <= 0.5 * condition.embeds_BSD.norm(dim=-1)[0] * 1.001).all()


def test_hardened_rows_are_drawn_apart_from_the_mixed_ones_and_before_processes_share_them() -> None:
    asked = recipe(concept_batch=4, mixed_share=0.5, adversarial_steps=1)
    points = points_of(TINY, asked)
    batches = [draw_batch(points, asked, step_generator(0, step)).erase for step in range(40)]
    hardened = torch.stack([rows.hardened for rows in batches if rows.hardened is not None]).float()
    assert (hardened.sum(1) == 2).all()
    assert (hardened.mean(0) > 0.25).all(), "whole rows, which are the last two, as well as mixed ones"
    assert (hardened.mean(0) < 0.75).all()
    plain = draw_batch(points, recipe(concept_batch=4, mixed_share=0.5), step_generator(0, 7))
    assert plain.erase.hardened is None
    same = draw_batch(points, asked, step_generator(0, 7))
    assert torch.equal(plain.erase.condition.embeds_BSD, same.erase.condition.embeds_BSD)
    assert plain.keep is not None
    assert same.keep is not None
    assert torch.equal(plain.keep.latents, same.keep.latents)


def test_a_step_of_one_row_has_its_share_of_mixed_and_of_hardened_texts() -> None:
    """Low memory and the smallest memory presets train one row a step."""
    asked = recipe(concept_batch=1, mixed_share=0.5, adversarial_steps=1)
    points = points_of(TINY, asked)
    batches = [draw_batch(points, asked, step_generator(0, step)).erase for step in range(40)]
    hardened = sum(int(rows.hardened.sum()) for rows in batches if rows.hardened is not None)
    own = points.prompts.conditions["concept"].embeds_BSD
    changed = sum(not torch.equal(rows.condition.embeds_BSD, own[rows.prompt]) for rows in batches)
    assert 10 <= hardened <= 30
    assert 10 <= changed <= 30


@pytest.mark.parametrize("name", ["cogvideox-2b", "wan-2.1", "animatediff"])
def test_a_redirected_point_is_the_noised_clip_and_leads_to_the_other_clip(name: str) -> None:
    family, generator = TINY_MODELS[name].model.family, torch.Generator().manual_seed(0)
    scheduler = family.make_scheduler(8, TINY_MODELS[name].size)
    clean, instead, eps = torch.randn(3, 1, 6, generator=generator)
    place = torch.tensor([4])
    noisy, target = redirected(scheduler, clean, instead, eps, place)
    assert torch.equal(noisy, add_noise(scheduler, clean, eps, place)[0])
    if hasattr(scheduler, "alphas_cumprod") and scheduler.config.get("prediction_type") != "flow_prediction":
        alpha = scheduler.alphas_cumprod[scheduler.timesteps.long()[4]]
        signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
        velocity = scheduler.config.prediction_type == "v_prediction"
        shown = signal * noisy - spread * target if velocity else (noisy - spread * target) / signal
    else:
        shown = noisy - scheduler.sigmas[4] * target
    torch.testing.assert_close(shown, instead, rtol=1e-3, atol=1e-3)


def test_clip_starts_take_their_share_of_the_points_with_the_neutral_prompt() -> None:
    asked = {"concept_trajectories": 4, "trajectory_steps": 4, "preserve_batch": 8}
    points = points_of(TINY, recipe(**asked, clip_start_share=1.0))
    assert points.clip_starts is not None
    assert len(points.clip_starts.prompt) == 2, "half of the trajectories follow the neutral prompt"
    assert not torch.equal(points.clip_starts.clips[0], points.clip_starts.instead[0])
    plain, turned = (
        draw_batch(points, recipe(**asked, clip_start_share=share), step_generator(0, 1)).keep for share in (0.0, 1.0)
    )
    assert plain is not None
    assert turned is not None
    assert len(plain) == len(turned) == 8
    # Points that are noised from clips are none of the sampled ones.
    stored = torch.cat([points.concept.latents[:], points.preserve.latents[:]]) if points.preserve else points.concept.latents
    counts = [sum(bool((row == stored).flatten(1).all(1).any()) for row in rows.latents) for rows in (plain, turned)]
    assert counts == [8, 6]
    assert points_of(TINY, recipe(**asked)).clip_starts is None
