"""The objectives of few-shot unlearning: their formulas, which of them has a floor, and how movement is measured."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from t2vu_core.objectives import few_shot as objectives


def test_the_objectives_are_their_formulas() -> None:
    student, true = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]])
    concept, neutral = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 1.0]])
    assert objectives.ascent(student, true) == -2.5
    assert objectives.anchor(student, neutral) == 0.5
    # v(n) - 2 (v(c) - v(n)) = (-3, 1)
    assert objectives.negative_guidance(student, concept, neutral, 2.0) == (16 + 1) / 2
    assert objectives.ascent_trust_region(student, true, torch.tensor([0.5]), 0.5) == -2.5
    assert objectives.ascent_trust_region(student, true, torch.tensor([1.5]), 0.5) == -2.5 + 3.5
    assert objectives.preserve_predictions(student, neutral) == 0.5


def test_what_the_denoiser_still_hears_is_one_at_the_start_and_zero_at_the_neutral_prompt() -> None:
    concept, neutral = torch.randn(3, 4), torch.randn(3, 4)
    assert objectives.remaining(concept, concept, neutral) == pytest.approx(1.0)
    assert objectives.remaining(neutral, concept, neutral) == pytest.approx(0.0)
    assert objectives.remaining(2 * neutral - concept, concept, neutral) == pytest.approx(-1.0, abs=1e-5)


def test_ascent_falls_without_end_and_the_others_have_a_floor() -> None:
    """A linear denoiser reads embeddings that move ever further away."""
    denoiser = nn.Linear(6, 5, bias=False)
    frozen, away, true = torch.randn(2, 3, 6), torch.randn(2, 3, 6), torch.randn(2, 3, 5)
    losses: dict[str, list[float]] = {name: [] for name in objectives.OBJECTIVES}
    concept, neutral = denoiser(frozen).detach(), torch.zeros(2, 3, 5)
    for factor in (1.0, 10.0, 100.0, 1000.0):
        embeds = frozen + factor * away
        moved = objectives.distance(embeds, frozen)
        for name in objectives.OBJECTIVES:
            heard = objectives.within(embeds, frozen, moved, 0.5) if name == "ascent_trust_region" else embeds
            seen = objectives.Predictions(denoiser(heard), concept, neutral, true, moved)
            losses[name].append(objectives.objective_loss(name, seen, eta=1.0, radius=0.5).item())
    assert losses["ascent"][-1] < 50 * losses["ascent"][-2] < 0
    ball = objectives.distance(objectives.within(frozen + 1000 * away, frozen, moved, 0.5), frozen)
    torch.testing.assert_close(ball, torch.full((2,), 0.5), atol=1e-3, rtol=0)
    for name in ("anchor", "negative_guidance", "ascent_trust_region"):
        assert min(losses[name]) == losses[name][0], name
        assert losses[name] == sorted(losses[name]), name


def test_distance_has_a_gradient_where_nothing_has_moved_yet() -> None:
    embeds = torch.randn(2, 3, 4, requires_grad=True)
    objectives.distance(embeds, embeds.detach()).sum().backward()
    assert embeds.grad is not None
    assert torch.isfinite(embeds.grad).all()


def test_padding_does_not_count_as_movement() -> None:
    frozen, embeds = torch.ones(1, 2, 3), torch.ones(1, 2, 3)
    embeds[:, 1] = 5
    assert objectives.distance(embeds, frozen, torch.tensor([[1, 0]])) < 1e-5
    assert objectives.distance(embeds, frozen) > 1
