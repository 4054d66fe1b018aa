"""The linear algebra of SAFREE (Yoon et al., arXiv 2410.12761), also used by VideoEraser.

Shapes: n words of a prompt, k spanning vectors of a subspace, r its dimension, d width of the text embeddings.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

STEEPNESS, MIDPOINT = 2.5, 5.333
"""Of the authors' sigmoid, for ten times the distance."""


def orthonormal_basis(vectors_kd: Tensor, *, tolerance: float = 1e-5) -> Tensor:
    """Orthonormal rows (r, d) of the vectors' span; directions weaker than `tolerance` times the strongest are dropped."""
    # Apple GPUs have no float64.
    exact_kd = (vectors_kd.cpu() if vectors_kd.device.type == "mps" else vectors_kd).double()
    _, strengths, rows = torch.linalg.svd(exact_kd, full_matrices=False)
    return rows[strengths > tolerance * strengths[0]].to(vectors_kd.dtype).to(vectors_kd.device)


def project(x_nd: Tensor, basis_rd: Tensor) -> Tensor:
    """Projection onto the subspace, P x with P = C (C^T C)^-1 C^T, without building the d x d matrix."""
    return x_nd @ basis_rd.T @ basis_rd


def trigger_words(without_nd: Tensor, concept_rd: Tensor, *, alpha: float) -> Tensor:
    """Which words express the concept, bool (n,); `without_nd` are the pooled prompts with one word left out.

    Leaving out such a word moves the prompt away from the concept's subspace: its distance |(I - P_C) p| exceeds the
    mean of the other words' distances by a factor of 1 + alpha. A single word is never a trigger: there is no other to
    compare it with.
    """
    count = len(without_nd)
    if count < 2:
        return torch.zeros(count, dtype=torch.bool)
    distance = (without_nd - project(without_nd, concept_rd)).norm(dim=1)
    others = (distance.sum() - distance) / (count - 1)
    return distance > (1 + alpha) * others


def safe_embeddings(tokens_nd: Tensor, concept_rd: Tensor, input_rd: Tensor) -> Tensor:
    """p_safe = P_I (I - P_C) p: away from the concept's subspace, but inside the prompt's own span.

    The authors' code multiplies in the other order; the results agree if the prompt's span contains the concept.
    """
    return project(tokens_nd - project(tokens_nd, concept_rd), input_rd)


def moved(original_nd: Tensor, safe_nd: Tensor) -> float:
    """Mean of 1 - cos(p, p_safe) over tokens: 0 where the projection changes nothing, up to 2 in the opposite direction."""
    return 1 - float(torch.nn.functional.cosine_similarity(original_nd, safe_nd, dim=-1).mean())


def papers_share(distance: float) -> float:
    """SAFREE's self-validating filter as the paper's equation for t' has it: from 0.5 (unchanged) to 0.88."""
    return 1 / (1 + math.exp(-distance))


def authors_share(distance: float) -> float:
    """The same filter as in the authors' code: a steep sigmoid, near 0 below a distance of 0.4 and near 1 above 0.7.

    Slope and midpoint are those of its general case; it has others for artists.
    """
    return 1 / (1 + math.exp(-2 * STEEPNESS * (10 * distance - MIDPOINT)))
