"""Localisation: limits an eraser's output to where the concept is (T2VUnlearning, arXiv 2505.17550, Eq. 9).

Shapes: B clips, N video tokens in the order of `Family.token_grid`, W the width of an eraser's output.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def prediction_difference(v_concept: Tensor, v_neutral: Tensor, channel_axis: int, grid: tuple[int, int, int]) -> Tensor:
    """`|v(x, c) - v(x, n)|` at each video token, (B, N), mean 1 in each clip: where the concept's words have an effect.

    After DiffEdit (arXiv 2210.11427). It needs no extra pass: trajectories store both predictions. Attention shows which
    words a token reads; this shows where the words change the prediction.
    """
    distance_BFHW = (v_concept - v_neutral).float().norm(dim=channel_axis)
    by_token = F.adaptive_avg_pool3d(distance_BFHW[:, None], grid).flatten(1)
    return by_token / by_token.mean(1, keepdim=True).clamp_min(1e-12)


def concept_mask(attention_BN: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """The concept's share in each token, (B, N) in [0, 1]: each frame is scaled from its minimum to its maximum.

    This is the paper's normalisation. A frame with equal values for all tokens locates nothing and gives zeros.
    """
    frames, rows, columns = grid
    by_frame = attention_BN.unflatten(1, (frames, rows * columns))
    least, most = by_frame.amin(-1, keepdim=True), by_frame.amax(-1, keepdim=True)
    return ((by_frame - least) / (most - least).clamp_min(1e-12)).flatten(1)


def outside_mask(mask_BN: Tensor, threshold: float) -> Tensor:
    """`1 - M`, (B, N) float32. M is 1 at and above `threshold` (the paper's binary mask); with threshold 0, M stays soft."""
    return 1 - mask_BN.float() if threshold == 0 else (mask_BN < threshold).float()


def localization_loss(removed_BNW: Tensor, outside_BN: Tensor) -> Tensor:
    """`|o (1 - M)|^2` of each clip, (B,): the mean over tokens and width. Eq. 9 is the mean of this over layers and clips."""
    return (removed_BNW.float() * outside_BN[..., None]).square().mean((1, 2))
