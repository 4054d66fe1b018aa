"""Objectives of velocity erasing, in the model's own output space (epsilon, v or flow velocity).

Shapes: predictions `v` have the shape of the latents, with the batch first; a prime marks the student's.
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
    """Mean squared error between the student's prediction for the concept prompt and the target."""
    return F.mse_loss(v_student, v_target)


def preservation_loss(v_student: Tensor, v_frozen: Tensor) -> Tensor:
    """Mean squared error between the student and the frozen model for preserve prompts (L_pre in the paper)."""
    return F.mse_loss(v_student, v_frozen)


def guide(v_prompt: Tensor, v_empty: Tensor, guidance_scale: float) -> Tensor:
    """Classifier-free guidance, `v(x, 0) + g (v(x, c) - v(x, 0))` (arXiv 2207.12598)."""
    return v_empty + guidance_scale * (v_prompt - v_empty)


def guided_unlearning_loss(
    v_student: Tensor, v_student_empty: Tensor, v_target: Tensor, v_empty: Tensor, guidance_scale: float
) -> Tensor:
    """`|g(v'(x, c), v'(x, 0)) - g(v_target, v(x, 0))|^2 / g^2` with g(a, b) = b + g (a - b): loss after guidance.

    Sampling uses the guided prediction. Guidance amplifies the remaining effect of the concept by g and subtracts (g - 1)
    times the change at the empty prompt. This loss therefore compares guided predictions: with the neutral prompt's
    prediction as `v_target` (eta = 0), the target is the clip of the neutral prompt. The division by g^2 makes it equal to
    `unlearning_loss` if the prediction for the empty prompt is unchanged, so that loss weights keep their meaning.
    """
    shown = guide(v_student, v_student_empty, guidance_scale)
    wanted = guide(v_target, v_empty, guidance_scale)
    return F.mse_loss(shown, wanted) / guidance_scale**2
