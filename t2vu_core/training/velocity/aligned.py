"""The neutral prompt, token by token where the concept's prompt says the same: only the concept's span differs.

Two prompts that differ in a few words have all later words at other places. Mixing their embeddings place by place would
splice shifted sentences. S counts the text tokens of the concept's prompt, C prompts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from difflib import SequenceMatcher

import torch
from torch import Tensor

from t2vu_core.families.base import Family
from t2vu_core.families.text_condition import TextCondition

NOWHERE = -1
"""For a token of the concept's span that the neutral prompt has nothing for."""


def counterparts(concept: Sequence[str], neutral: Sequence[str]) -> list[int]:
    """For each token of the concept's prompt the place of its counterpart in the neutral prompt, or NOWHERE.

    Tokens with the same text correspond, in order. A different span corresponds from its start on: a longer replacement is
    cut, a shorter one leaves the rest of the span without a counterpart.
    """
    own, other = ([piece.lower() for piece in pieces] for pieces in (concept, neutral))
    places = [NOWHERE] * len(own)
    for _, start, end, first, last in SequenceMatcher(None, own, other, autojunk=False).get_opcodes():
        for place, counterpart in zip(range(start, end), range(first, last), strict=False):
            places[place] = counterpart
    return places


def aligned_neutral(
    family: Family, prompts: Sequence[tuple[str, str]], concept: TextCondition, neutral: TextCondition
) -> TextCondition:
    """The encoded neutral prompts in the layout of the concept's prompts, for (prompt, neutral) pairs in the same order.

    A token without a counterpart becomes padding; if padding is masked, which must stay at the end of the text, it becomes
    the token before it. The mask is that of the concept's prompts.
    """
    length, longest = concept.embeds_BSD.shape[1], neutral.embeds_BSD.shape[1]
    padding = neutral.mask_BS is None
    places = torch.tensor([_row(family, pair, length, longest, padding) for pair in prompts])
    rows = torch.arange(len(places))[:, None]
    embeds = neutral.embeds_BSD[rows, places.to(neutral.embeds_BSD.device)]
    return dataclasses.replace(neutral, embeds_BSD=embeds, mask_BS=concept.mask_BS)


def _row(family: Family, pair: tuple[str, str], length: int, longest: int, padding: bool) -> list[int]:
    """Which token of the encoded neutral prompt stands at each of `length` places."""
    concept, neutral = (family.token_pieces(text)[:limit] for text, limit in zip(pair, (length, longest), strict=True))
    empty = min(len(neutral), longest - 1)
    places = counterparts(concept, neutral)
    nearest, row = next((place for place in places if place != NOWHERE), empty), list[int]()
    for place in places:
        nearest = nearest if place == NOWHERE else place
        row.append(empty if padding and place == NOWHERE else nearest)
    return row + [min(max(place, empty), longest - 1) for place in range(len(row), length)]


def mixed(concept: TextCondition, aligned: TextCondition, odds_B1: Tensor, generator: torch.Generator) -> TextCondition:
    """The concept's prompts, each token with its row's odds; otherwise the token that stands at its place without the concept.

    Padding that is masked stays. The pooled embedding is of one prompt or of the other.
    """
    device = concept.embeds_BSD.device
    keep_BS = (torch.rand(concept.embeds_BSD.shape[:2], generator=generator) < odds_B1).to(device)
    if concept.mask_BS is not None:
        keep_BS |= ~concept.mask_BS.bool()
    pooled_BD = concept.pooled_BD
    if pooled_BD is not None and aligned.pooled_BD is not None:
        whole = (torch.rand(len(concept), 1, generator=generator) < odds_B1).to(device)
        pooled_BD = torch.where(whole, pooled_BD, aligned.pooled_BD)
    embeds_BSD = torch.where(keep_BS[..., None], concept.embeds_BSD, aligned.embeds_BSD)
    return dataclasses.replace(concept, embeds_BSD=embeds_BSD, pooled_BD=pooled_BD)
