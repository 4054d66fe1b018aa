"""Objectives of few-shot encoder unlearning, in the denoiser's own output space (epsilon, v or flow velocity).

The denoiser is frozen and the gradient goes through it into the text encoder. Shapes: predictions `v` are
latents-shaped with the batch first, embeddings are (B, S, D) with a mask (B, S) where there is one. Losses are
divided by what they are measured against, so that weights and rates mean the same for every model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from t2vu_core.objectives.velocity import negative_guidance_target

Objective = Literal["negative_guidance", "anchor", "ascent", "ascent_trust_region"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


def ascent(v_student: Tensor, v_true: Tensor) -> Tensor:
    """`-|v'(x_t, c) - v|^2`: the denoising loss negated (Fuchi & Takagi, arXiv 2405.07288; T2V: arXiv 2407.14209).

    `v_true` is what the denoiser was once trained to predict for the shot. There is no bound from below.
    """
    return -F.mse_loss(v_student, v_true)


def negative_guidance(v_student: Tensor, v_concept: Tensor, v_neutral: Tensor, eta: float) -> Tensor:
    """`|v'(x_t, c) - (v(n) - eta (v(c) - v(n)))|^2`, bounded by zero: ESD's target (arXiv 2303.07345, Eq. 5) for the encoder.

    `v_concept` and `v_neutral` are predictions with the frozen encoder, for the prompt and for the same without
    the concept.
    """
    return F.mse_loss(v_student, negative_guidance_target(v_concept, v_neutral, eta))


def anchor(v_student: Tensor, v_neutral: Tensor) -> Tensor:
    """`|v'(x_t, c) - v(x_t, n)|^2`, bounded by zero: the concept is said like its anchor (arXiv 2303.13516, Eq. 5).

    The anchor is the neutral prompt, or no prompt at all.
    """
    return F.mse_loss(v_student, v_neutral)


def ascent_trust_region(v_student: Tensor, v_true: Tensor, moved_B: Tensor, radius: float) -> Tensor:
    """`ascent` with a wall, ours: `-|v' - v|^2 + w relu(moved - radius)^2`, the wall as steep as the ascent is long.

    `moved_B` is how far the embeddings of each prompt have moved (`distance`). Give it the prediction for
    embeddings that `within` holds in the ball of that radius: the first term is then bounded, since a denoiser
    is on a bounded set, and the second one keeps the encoder itself from leaving it.
    """
    gained = F.mse_loss(v_student, v_true)
    return -gained + (1 + gained.detach()) * F.relu(moved_B - radius).pow(2).mean()


def within(embeds_BSD: Tensor, frozen_BSD: Tensor, moved_B: Tensor, radius: float) -> Tensor:
    """The embeddings, drawn back into the ball of the radius around the frozen ones."""
    shrink_B = (radius / moved_B.clamp_min(radius)).view(-1, 1, 1)
    return frozen_BSD + (embeds_BSD - frozen_BSD) * shrink_B


def distance(embeds_BSD: Tensor, frozen_BSD: Tensor, mask_BS: Tensor | None = None) -> Tensor:
    """How far embeddings have moved, as a share of the frozen ones' size: (B,), 0 where they have not."""
    weight = 1.0 if mask_BS is None else mask_BS.to(embeds_BSD.dtype)[..., None]
    moved = ((embeds_BSD - frozen_BSD) * weight).float().flatten(1).pow(2).sum(1)
    size = (frozen_BSD * weight).float().flatten(1).pow(2).sum(1)
    # The square root has no gradient at zero, where every training starts.
    return (moved / size.clamp_min(1e-12) + 1e-12).sqrt()


def preserve_predictions(v_student: Tensor, v_frozen: Tensor) -> Tensor:
    """`|v'(x_t, c_pre) - v(x_t, c_pre)|^2`: the preservation loss of T2VUnlearning (arXiv 2505.17550)."""
    return F.mse_loss(v_student, v_frozen)


def remaining(v_student: Tensor, v_concept: Tensor, v_neutral: Tensor) -> Tensor:
    """How much of the concept the denoiser still hears: 1 as before, 0 like the neutral prompt, below 0 past it.

    The share of `v(c) - v(n)` in `v'(c) - v(n)`, by projection, over the whole batch.
    """
    direction = v_concept - v_neutral
    return ((v_student - v_neutral) * direction).sum() / direction.pow(2).sum().clamp_min(1e-20)


@dataclass(frozen=True)
class Predictions:
    """What an objective may look at, for one batch."""

    student: Tensor
    concept: Tensor
    neutral: Tensor
    true: Tensor
    moved_B: Tensor


def objective_loss(name: Objective, seen: Predictions, *, eta: float, radius: float) -> Tensor:
    """The loss of an objective by its name."""
    losses: dict[Objective, Callable[[], Tensor]] = {
        "ascent": lambda: ascent(seen.student, seen.true),
        "ascent_trust_region": lambda: ascent_trust_region(seen.student, seen.true, seen.moved_B, radius),
        "anchor": lambda: anchor(seen.student, seen.neutral),
        "negative_guidance": lambda: negative_guidance(seen.student, seen.concept, seen.neutral, eta),
    }
    return losses[name]()
