"""Objectives of velocity erasing, in the model's own output space (epsilon, v or flow velocity).

Shapes: predictions are latents-shaped with the batch first, written `v`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def negative_guidance_target(v_concept: Tensor, v_without: Tensor, eta: float) -> Tensor:
    """`v(x, 0) - eta (v(x, c) - v(x, 0))`: T2VUnlearning (arXiv 2505.17550), after ESD (arXiv 2303.07345, Eq. 5).

    `v_without` is the frozen prediction for the empty prompt, or for the same prompt without the concept.
    """
    return v_without - eta * (v_concept - v_without)


def unlearning_loss(v_student: Tensor, v_target: Tensor) -> Tensor:
    """Mean squared error of the student at the concept's prompt to the target."""
    return F.mse_loss(v_student, v_target)


def preservation_loss(v_student: Tensor, v_frozen: Tensor) -> Tensor:
    """Mean squared error of the student to the frozen model where nothing must change (L_pre of the paper)."""
    return F.mse_loss(v_student, v_frozen)
