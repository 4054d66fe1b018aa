"""Which token of the neutral prompt stands where a token of the concept's prompt does. S counts text tokens."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def aligned(concept_SD: Tensor, neutral_SD: Tensor) -> list[int]:
    """For every token of the first text a token of the second, in order: the alignment with the most similar embeddings.

    Dynamic time warping in which tokens of the second text may be left out or used again (Sakoe & Chiba 1978), so that it
    works for every tokenizer and for replacements of any length.
    """
    similar = (F.normalize(concept_SD.float(), dim=-1) @ F.normalize(neutral_SD.float(), dim=-1).T).cpu().numpy()
    best, came_from = similar[0], []
    for row in similar[1:]:
        reached = np.maximum.accumulate(best)
        came_from.append(np.maximum.accumulate(np.where(best == reached, np.arange(len(best)), 0)))
        best = row + reached
    path = [int(best.argmax())]
    for before in reversed(came_from):
        path.append(int(before[path[-1]]))
    return path[::-1]


def real_tokens(mask_BS: Tensor | None, row: int, length: int) -> Tensor:
    """Which tokens of a row are text and not masked padding, (S,) bool."""
    return torch.ones(length, dtype=torch.bool) if mask_BS is None else mask_BS[row].bool().cpu()
