"""Localisation: what an eraser adds is kept where the concept is (T2VUnlearning, arXiv 2505.17550, Eq. 9).

Shapes: B clips, N video tokens in the order of `Family.token_grid`, W the width of an eraser's output.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def prediction_difference(v_concept: Tensor, v_neutral: Tensor, channel_axis: int, grid: tuple[int, int, int]) -> Tensor:
    """`|v(x, c) - v(x, n)|` at each video token, (B, N), mean 1 in each clip: where the concept's words act.

    After DiffEdit (arXiv 2210.11427). It needs no pass of its own: trajectories keep both predictions. Where attention
    says which words a place reads, this says where the words make a difference.
    """
    distance_BFHW = (v_concept - v_neutral).float().norm(dim=channel_axis)
    by_token = F.adaptive_avg_pool3d(distance_BFHW[:, None], grid).flatten(1)
    return by_token / by_token.mean(1, keepdim=True).clamp_min(1e-12)


def concept_mask(attention_BN: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """How much each token has of the concept -> (B, N) in [0, 1], each frame stretched from its least to its most.

    The paper's normalisation. A frame whose tokens are all alike says nothing about a place: it gives zeros.
    """
    frames, rows, columns = grid
    by_frame = attention_BN.unflatten(1, (frames, rows * columns))
    least, most = by_frame.amin(-1, keepdim=True), by_frame.amax(-1, keepdim=True)
    return ((by_frame - least) / (most - least).clamp_min(1e-12)).flatten(1)


def outside_mask(mask_BN: Tensor, threshold: float) -> Tensor:
    """`1 - M`, (B, N) float32: M is 1 from `threshold` on (the paper's binarised mask); with threshold 0, M stays soft."""
    return 1 - mask_BN.float() if threshold == 0 else (mask_BN < threshold).float()


def localization_loss(removed_BNW: Tensor, outside_BN: Tensor) -> Tensor:
    """`|o (1 - M)|^2` of each clip, (B,): mean over tokens and width. Eq. 9 is its mean over layers and clips."""
    return (removed_BNW.float() * outside_BN[..., None]).square().mean((1, 2))
