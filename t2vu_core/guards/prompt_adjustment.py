"""Prompt adjustment, the first part of SAFREE and VideoEraser: projects a prompt's trigger words away from the concept.

The published code masks tokens in the attention of one text encoder, at offsets that hold for CLIP only (its T5 port is
off by one). Here the unit is the word: a prompt is encoded again with one word left out, and the family locates the
word's tokens, so the same code works with every text encoder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.families import Family, TextCondition
from t2vu_core.guards.subspace import moved, orthonormal_basis, safe_embeddings, trigger_words


@dataclass(frozen=True)
class AdjustedPrompts:
    """Encoded prompts with projected trigger words, and the findings for each prompt."""

    condition: TextCondition
    triggers: tuple[tuple[str, ...], ...]
    """The words of each prompt that express the concept."""
    distances: tuple[float | None, ...]
    """How far the projection would move each prompt's tokens, all of them: mean 1 - cosine similarity; None if it has no
    trigger word."""


def adjust_prompts(family: Family, prompts: Sequence[str], concepts: Sequence[str], *, alpha: float) -> AdjustedPrompts:
    """Encode prompts and project the tokens of their trigger words; all other tokens are unchanged."""
    condition = family.encode(prompts)
    concept_rd = orthonormal_basis(_pooled(family, check_concepts(concepts)))
    embeds = condition.embeds_BSD.clone()
    found = [_adjust(family, prompt, row, concept_rd, alpha) for prompt, row in zip(prompts, embeds, strict=True)]
    triggers, distances = zip(*found, strict=True)
    return AdjustedPrompts(dataclasses.replace(condition, embeds_BSD=embeds), triggers, distances)


def check_concepts(concepts: Sequence[str]) -> list[str]:
    """The concepts that a guard suppresses, with tidy spaces. Raises UserError if there are none or one is empty."""
    if not concepts or not all(concept.strip() for concept in concepts):
        raise UserError('A guard needs a concept to keep out, in words: for example "ghost".')
    return [" ".join(concept.split()) for concept in concepts]


def _adjust(
    family: Family, prompt: str, row_SD: Tensor, concept_rd: Tensor, alpha: float
) -> tuple[tuple[str, ...], float | None]:
    """Change the tokens of one prompt in place; returns its trigger words, and how far all of its tokens would be moved."""
    words = prompt.split()
    if len(words) < 2:
        return (), None
    without_nd = _pooled(family, [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))])
    trigger = trigger_words(without_nd, concept_rd, alpha=alpha)
    named = tuple(word.strip(".,;:!?\"'") for word, carries in zip(words, trigger.tolist(), strict=True) if carries)
    positions = sorted({p for word in named if word for p in family.concept_positions(prompt, word)})
    if not positions:
        return (), None
    before = row_SD[: len(family.token_pieces(prompt))].float()
    after = safe_embeddings(before, concept_rd, orthonormal_basis(without_nd))
    distance = moved(before, after)
    row_SD[positions] = after[positions].to(row_SD.dtype)
    return named, distance


def _pooled(family: Family, texts: Sequence[str]) -> Tensor:
    """Mean embedding over the tokens of each text, (n, d) float32."""
    embeds = family.encode(texts).embeds_BSD.float()
    rows = []
    for text, row in zip(texts, embeds, strict=True):
        positions = family.concept_positions(text, text)
        rows.append(row[positions].mean(0) if positions else row.mean(0))
    return torch.stack(rows)
