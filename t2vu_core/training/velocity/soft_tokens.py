"""Adversarial soft tokens: words that bring the concept back, found before the step that erases it again.

After Receler (arXiv 2311.17717), which trains soft tokens against its erasers in every step. Here they are a bounded
change of the concept's own text embeddings, found by projected gradient steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.families.base import ClipSize, Family, TextCondition


def attack(
    family: Family,
    latents: Tensor,
    timesteps_B: Tensor,
    condition: TextCondition,
    v_concept: Tensor,
    positions: Sequence[Sequence[int]],
    size: ClipSize,
    *,
    steps: int,
    radius: float,
) -> TextCondition:
    """The condition with the concept's embeddings moved so that the student says what the frozen model said.

    Minimises `|v'(x, c + d) - v(x, c)|^2` over d, non-zero at `positions` (everywhere in a row without any), where no
    token moves further than `radius` times its own length. Called with the erasers attached.
    """
    embeds = condition.embeds_BSD.detach()
    length = embeds.float().norm(dim=-1, keepdim=True)
    allowed = _allowed(positions, embeds)
    change = torch.zeros_like(embeds, dtype=torch.float32)
    for step in range(steps):
        change.requires_grad_(True)
        attacked = dataclasses.replace(condition, embeds_BSD=embeds + change.to(embeds.dtype))
        with torch.autocast(family.device.type, torch.bfloat16):
            student = family.predict(latents, timesteps_B, attacked, size)
        (gradient,) = torch.autograd.grad(F.mse_loss(student, v_concept), change)
        with torch.no_grad():
            gradient = gradient * allowed
            # The strides shrink, and add up to about twice the way to the border: it can be reached and followed.
            stride = 4 * radius * (steps - step) / (steps * (steps + 1)) * length
            change = change - stride * gradient / gradient.norm(dim=-1, keepdim=True).clamp_min(1e-20)
            change = change * (radius * length / change.norm(dim=-1, keepdim=True).clamp_min(1e-20)).clamp_max(1.0)
    return dataclasses.replace(condition, embeds_BSD=(embeds + change.to(embeds.dtype)).detach())


def _allowed(positions: Sequence[Sequence[int]], embeds_BSD: Tensor) -> Tensor:
    """1 where a token may move, (B, S, 1)."""
    allowed = torch.zeros(*embeds_BSD.shape[:2], 1, device=embeds_BSD.device)
    for row, wanted in enumerate(positions):
        allowed[row, list(wanted) or slice(None)] = 1.0
    return allowed
