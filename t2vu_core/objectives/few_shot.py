"""Objectives of few-shot encoder unlearning, in the denoiser's own output space (epsilon, v or flow velocity).

The denoiser is frozen; the gradient passes through it into the text encoder. Shapes: predictions `v` have the shape of
the latents, with the batch first; embeddings are (B, S, D), with an optional mask (B, S). Losses are relative to the
quantity they compare with, so that weights and learning rates mean the same for every model.
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

    `v_true` is the denoiser's original training target for the shot. The loss is unbounded below.
    """
    return -F.mse_loss(v_student, v_true)


def negative_guidance(v_student: Tensor, v_concept: Tensor, v_neutral: Tensor, eta: float) -> Tensor:
    """`|v'(x_t, c) - (v(n) - eta (v(c) - v(n)))|^2`, bounded by zero: ESD's target (arXiv 2303.07345, Eq. 5) for the encoder.

    `v_concept` and `v_neutral` are predictions with the frozen encoder, for the prompt with and without the concept.
    """
    return F.mse_loss(v_student, negative_guidance_target(v_concept, v_neutral, eta))


def anchor(v_student: Tensor, v_neutral: Tensor) -> Tensor:
    """`|v'(x_t, c) - v(x_t, n)|^2`, bounded by zero: maps the concept to an anchor (arXiv 2303.13516, Eq. 5).

    The anchor is the neutral prompt or the empty prompt.
    """
    return F.mse_loss(v_student, v_neutral)


def ascent_trust_region(v_student: Tensor, v_true: Tensor, moved_B: Tensor, radius: float) -> Tensor:
    """`ascent` with a penalty (our own): `-|v' - v|^2 + w relu(moved - radius)^2`, where w grows with the first term.

    `moved_B` is how far the embeddings of each prompt have moved (`distance`). `v_student` must be the prediction for
    embeddings that `within` projects into the ball of that radius: the first term is then bounded, because the denoiser
    is bounded on a bounded set, and the second term keeps the encoder itself inside the ball.
    """
    gained = F.mse_loss(v_student, v_true)
    return -gained + (1 + gained.detach()) * F.relu(moved_B - radius).pow(2).mean()


def within(embeds_BSD: Tensor, frozen_BSD: Tensor, moved_B: Tensor, radius: float) -> Tensor:
    """The embeddings, projected into the ball of this radius around the frozen ones."""
    shrink_B = (radius / moved_B.clamp_min(radius)).view(-1, 1, 1)
    return frozen_BSD + (embeds_BSD - frozen_BSD) * shrink_B


def distance(embeds_BSD: Tensor, frozen_BSD: Tensor, mask_BS: Tensor | None = None) -> Tensor:
    """How far embeddings have moved, relative to the norm of the frozen ones: (B,), 0 if unchanged."""
    weight = 1.0 if mask_BS is None else mask_BS.bool().to(embeds_BSD.dtype)[..., None]
    moved = ((embeds_BSD - frozen_BSD) * weight).float().flatten(1).pow(2).sum(1)
    size = (frozen_BSD * weight).float().flatten(1).pow(2).sum(1)
    # The square root has no gradient at zero, where every training run starts.
    return (moved / size.clamp_min(1e-12) + 1e-12).sqrt()


def preserve_predictions(v_student: Tensor, v_frozen: Tensor) -> Tensor:
    """`|v'(x_t, c_pre) - v(x_t, c_pre)|^2`: the preservation loss of T2VUnlearning (arXiv 2505.17550)."""
    return F.mse_loss(v_student, v_frozen)


def remaining(v_student: Tensor, v_concept: Tensor, v_neutral: Tensor) -> Tensor:
    """The remaining effect of the concept on the denoiser: 1 before training, 0 like the neutral prompt, negative past it.

    The projection of `v'(c) - v(n)` onto `v(c) - v(n)`, relative to the latter, over the whole batch.
    """
    direction = v_concept - v_neutral
    return ((v_student - v_neutral) * direction).sum() / direction.pow(2).sum().clamp_min(1e-20)


@dataclass(frozen=True)
class Predictions:
    """The inputs of an objective for one batch."""

    student: Tensor
    concept: Tensor
    neutral: Tensor
    true: Tensor
    moved_B: Tensor


def objective_loss(name: Objective, seen: Predictions, *, eta: float, radius: float) -> Tensor:
    """The loss of the named objective."""
    losses: dict[Objective, Callable[[], Tensor]] = {
        "ascent": lambda: ascent(seen.student, seen.true),
        "ascent_trust_region": lambda: ascent_trust_region(seen.student, seen.true, seen.moved_B, radius),
        "anchor": lambda: anchor(seen.student, seen.neutral),
        "negative_guidance": lambda: negative_guidance(seen.student, seen.concept, seen.neutral, eta),
    }
    return losses[name]()
