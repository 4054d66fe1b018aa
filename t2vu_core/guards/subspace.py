"""The linear algebra of SAFREE (Yoon et al., arXiv 2410.12761), which VideoEraser's prompt adjustment shares.

Shapes: n words of a prompt, k vectors that span a subspace, d width of the text embeddings.
"""

from __future__ import annotations

import torch
from torch import Tensor


def orthonormal_basis(vectors_kd: Tensor, *, tolerance: float = 1e-5) -> Tensor:
    """Rows (r, d) that span what the vectors span; directions weaker than `tolerance` of the strongest are noise."""
    # Apple's GPUs have no numbers of 64 bits.
    exact_kd = (vectors_kd.cpu() if vectors_kd.device.type == "mps" else vectors_kd).double()
    _, strengths, rows = torch.linalg.svd(exact_kd, full_matrices=False)
    return rows[strengths > tolerance * strengths[0]].to(vectors_kd.dtype).to(vectors_kd.device)


def project(x_nd: Tensor, basis_rd: Tensor) -> Tensor:
    """Onto the subspace: P x with P = C (C^T C)^-1 C^T, without ever building the d x d matrix."""
    return x_nd @ basis_rd.T @ basis_rd


def trigger_words(without_nd: Tensor, concept_rd: Tensor, *, alpha: float) -> Tensor:
    """Which words carry the concept, bool (n,): `without_nd` are the pooled prompts with one word left out.

    Leaving out a word that carries the concept moves the prompt away from the concept's subspace: its
    distance |(I - P_C) p| exceeds the mean of the other words' distances by a factor of 1 + alpha. One word
    alone has nothing to compare with and is none.
    """
    count = len(without_nd)
    if count < 2:
        return torch.zeros(count, dtype=torch.bool)
    distance = (without_nd - project(without_nd, concept_rd)).norm(dim=1)
    others = (distance.sum() - distance) / (count - 1)
    return distance > (1 + alpha) * others


def safe_embeddings(tokens_nd: Tensor, concept_rd: Tensor, input_rd: Tensor) -> Tensor:
    """p_safe = P_I (I - P_C) p: away from the concept's subspace, but inside what the prompt itself spans.

    The authors' code multiplies the two the other way round; where the prompt's span holds the concept both are the same.
    """
    return project(tokens_nd - project(tokens_nd, concept_rd), input_rd)


def validated_share(original_d: Tensor, safe_d: Tensor) -> float:
    """Self-validating filter: sigmoid(1 - cos(p, p_safe)), from 0.5 (nothing changed) to 0.88 (turned round)."""
    cosine = torch.nn.functional.cosine_similarity(original_d, safe_d, dim=0)
    return float(torch.sigmoid(1 - cosine))
