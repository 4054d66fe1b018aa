"""The closed form of an edit of linear layers. D is the layer's width of input, r the rank."""

from __future__ import annotations

import torch
from torch import Tensor


def change_of_inputs(moves_DD: Tensor, covariance_DD: Tensor, ridge: float, rank: int) -> tuple[Tensor, Tensor]:
    """The low-rank `left right` (D, r) (r, D) by which inputs change, so that the layer `W` becomes `W (1 + left right)`.

    It minimises `|x + Dx - x*|^2` over the erased inputs `x` with their targets `x*`, plus `|Dx|^2` over the inputs that
    must stay (UCE, arXiv 2308.14761, with `W` taken out on the left): `moves` is the sum of `(x* - x) x^T`,
    `covariance` that of `x x^T` over both, and `ridge` a share of its mean diagonal. Cut to the rank that is nearest for
    inputs of this covariance.
    """
    lower, device = _lower(covariance_DD, ridge)
    width = len(lower)
    whitened = torch.linalg.solve_triangular(lower, moves_DD.to(lower).T, upper=False).T
    rank = min(rank, width)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        left, sizes, right = torch.svd_lowrank(whitened, q=min(width, rank + 8), niter=4)
    factor = torch.linalg.solve_triangular(lower.T, right[:, :rank], upper=True).T
    return (left[:, :rank] * sizes[:rank]).float().to(device), factor.float().to(device)


def without_directions(apart_DD: Tensor, covariance_DD: Tensor, ridge: float, count: int) -> tuple[Tensor, Tensor]:
    """The low-rank `left right` (D, r) (r, D) that takes the main directions of differences out of the inputs.

    `apart` is the sum of `d d^T` over the differences `d`.

    A low-rank refusal direction (arXiv 2506.07891, whose code is not public): the directions are those in which prompts with
    and without the concept differ most, relative to the inputs that must stay. As in LEACE (arXiv 2306.03819), the
    projection is orthogonal for inputs of this covariance, so that these change least. `ridge` as in `change_of_inputs`.
    """
    lower, device = _lower(covariance_DD, ridge)
    # In the whitened space every direction costs the inputs that must stay the same.
    half = torch.linalg.solve_triangular(lower, apart_DD.to(lower), upper=False)
    whitened = torch.linalg.solve_triangular(lower, half.T, upper=False)
    directions_Dr = torch.linalg.eigh((whitened + whitened.T) / 2)[1].flip(1)[:, :count]
    right = torch.linalg.solve_triangular(lower.T, directions_Dr, upper=True).T
    return -(lower @ directions_Dr).float().to(device), right.float().to(device)


def inputs_that_bring_back(left: Tensor, right: Tensor, inputs_ND: Tensor, regularisation: float) -> Tensor:
    """Inputs (N, D) that the edited layer reads as the unedited one read `inputs` (RECE, arXiv 2407.12383).

    In the space of inputs, with `M = 1 + left right`: `(M^T M + regularisation)^-1 M^T x`.
    """
    edit = torch.eye(len(left), dtype=left.dtype, device=left.device) + left @ right
    normal = edit.T @ edit + regularisation * torch.eye(len(left), dtype=left.dtype, device=left.device)
    return torch.linalg.solve(normal, edit.T @ inputs_ND.T).T


def _lower(covariance_DD: Tensor, ridge: float) -> tuple[Tensor, torch.device]:
    """The Cholesky factor of a covariance with a ridge, in float64, and the device that the covariance was on.

    In single precision inputs that hardly vary make the matrix indefinite. Apple GPUs have no float64.
    """
    device = covariance_DD.device
    covariance_DD = covariance_DD.to("cpu" if device.type == "mps" else device).double()
    scale = covariance_DD.diagonal().mean().clamp_min(1e-12)
    unit = torch.eye(len(covariance_DD), dtype=covariance_DD.dtype, device=covariance_DD.device)
    return torch.linalg.cholesky(covariance_DD + ridge * scale * unit), device
