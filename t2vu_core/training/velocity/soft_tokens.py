"""Adversarial soft tokens: a change of the text embeddings that brings the concept back, found before it is erased again.

After Receler (arXiv 2311.17717), which trains soft tokens against its erasers in every step. Here they are a bounded
change of the concept's own embeddings, found by projected gradient descent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.families.text_condition import TextCondition


def soft_token_attack(
    predict: Callable[[TextCondition], Tensor],
    condition: TextCondition,
    v_concept: Tensor,
    positions: Sequence[Sequence[int]],
    *,
    steps: int,
    radius: float,
) -> TextCondition:
    """The condition with the concept's embeddings moved so that the student predicts what the frozen model did.

    Minimises `|v'(x, c + d) - v(x, c)|^2` over d, which is non-zero at `positions` (everywhere in a row without any) and
    moves no token further than `radius` times its own length. `predict` gives v' for a condition at fixed x.
    """
    embeds = condition.embeds_BSD.detach()
    length = embeds.float().norm(dim=-1, keepdim=True)
    allowed = _allowed(positions, embeds)
    change = torch.zeros_like(embeds, dtype=torch.float32)
    for step in range(steps):
        change.requires_grad_(True)
        student = predict(dataclasses.replace(condition, embeds_BSD=embeds + change.to(embeds.dtype)))
        (gradient,) = torch.autograd.grad(F.mse_loss(student, v_concept), change)
        with torch.no_grad():
            gradient = gradient * allowed
            # The strides shrink and add up to about twice the radius, so that the boundary can be reached and followed.
            stride = 4 * radius * (steps - step) / (steps * (steps + 1)) * length
            change = change - stride * gradient / gradient.norm(dim=-1, keepdim=True).clamp_min(1e-20)
            change = change * (radius * length / change.norm(dim=-1, keepdim=True).clamp_min(1e-20)).clamp_max(1.0)
    return dataclasses.replace(condition, embeds_BSD=(embeds + change.to(embeds.dtype)).detach())


def _allowed(positions: Sequence[Sequence[int]], embeds_BSD: Tensor) -> Tensor:
    """1 where a token may move, (B, S, 1)."""
    allowed = torch.zeros(*embeds_BSD.shape[:2], 1, device=embeds_BSD.device)
    for row, own in enumerate(positions):
        allowed[row, list(own) or slice(None)] = 1.0
    return allowed
