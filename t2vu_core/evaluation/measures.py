"""Measures of clips that need no detector: similarity, motion, sharpness.

Shapes: b clips, f frames, h height, w width; clips are (b, f, 3, h, w) in [0, 1], results (b,).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)


def ssim(first: Tensor, second: Tensor, *, window: int = 7, sigma: float = 1.5) -> Tensor:
    """Structural similarity of luminance, mean over pixels and frames (Wang et al. 2004, TIP 13(4), Eq. 13).

    1 is identical, about 0 unrelated. Gaussian window, constants (0.01, 0.03) for a range of 1.
    """
    clips = len(first)
    x, y = _luminance(first), _luminance(second)
    taps = torch.exp(-((torch.arange(window, dtype=x.dtype, device=x.device) - window // 2) ** 2) / (2 * sigma**2))
    kernel = torch.outer(taps, taps)[None, None] / taps.sum() ** 2

    def blur(plane: Tensor) -> Tensor:
        return F.conv2d(plane, kernel)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    likeness = likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return likeness.unflatten(0, (clips, -1)).flatten(1).mean(1)


def l1_distance(first: Tensor, second: Tensor) -> Tensor:
    """Mean absolute difference of pixels, 0 to 1."""
    return (first - second).abs().flatten(1).mean(1)


def motion(clips: Tensor) -> Tensor:
    """Mean absolute difference of neighboring frames; 0 for a frozen clip or a single frame."""
    if clips.shape[1] < 2:
        return torch.zeros(len(clips))
    return clips.diff(dim=1).abs().flatten(1).mean(1)


def sharpness(clips: Tensor) -> Tensor:
    """Mean absolute Laplacian of luminance: low for blur, high for noise; only its ratio to base is meaningful."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=clips.dtype, device=clips.device)[None, None]
    return F.conv2d(_luminance(clips), kernel).abs().unflatten(0, (len(clips), -1)).flatten(1).mean(1)


def _luminance(clips: Tensor) -> Tensor:
    """(b, f, 3, h, w) -> (b f, 1, h, w)."""
    weights = torch.tensor(_LUMA, dtype=clips.dtype, device=clips.device)[:, None, None]
    return (clips * weights).sum(2, keepdim=True).flatten(0, 1)
