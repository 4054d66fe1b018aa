"""The concept's prompts with learned tokens in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from t2vu_core.families.base import Family
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.mentions import says
from t2vu_core.prompts.neutral import with_gap
from t2vu_core.prompts.pairs import PromptPair
from t2vu_core.prompts.plan import PromptPlan
from t2vu_core.training.pseudo_tokens import Placeholder, replaced

TOKENS = 5
"""Learned at once."""
ENCODE_BATCH = 16
"""Prompts of one encoder pass: T5-XXL's attention over 512 tokens takes 0.2 GB for each."""


@dataclass(frozen=True)
class LearnedPrompts:
    """Prompts of one concept with learned tokens, in host memory."""

    rows: Mapping[int, int]
    """The row of each prompt, by its index among the concept's prompts."""
    condition: TextCondition


@dataclass(frozen=True)
class GappedPrompts:
    """The concept's prompts with a placeholder in its place, one per trajectory."""

    placeholder: Placeholder
    texts: tuple[str, ...]
    concepts: tuple[int, ...]
    """Which of the concepts each is about."""

    @classmethod
    def of(cls, family: Family, plan: PromptPlan, pairs: Sequence[PromptPair]) -> GappedPrompts:
        """Raises UserError if the tokenizer has no unused word of one token."""
        placeholder = Placeholder.choose(family.text.tokenizer, [pair.prompt for pair in pairs], TOKENS)
        about = [_about(pair, plan) for pair in pairs]
        gapped = [with_gap(pair, plan.concepts[number]) for pair, number in zip(pairs, about, strict=True)]
        return cls(placeholder, tuple(text.replace("{}", placeholder.text) for text in gapped), tuple(about))

    def learned(self, family: Family, concept: int, vectors_kD: Tensor) -> LearnedPrompts:
        """The prompts about a concept, with vectors of this shape for the placeholder's tokens."""
        prompts = [index for index, about in enumerate(self.concepts) if about == concept]
        texts = [self.texts[index] for index in prompts]
        with replaced(family, self.placeholder, vectors_kD):
            parts = [
                family.encode(texts[first : first + ENCODE_BATCH]).to("cpu") for first in range(0, len(texts), ENCODE_BATCH)
            ]
        return LearnedPrompts({index: row for row, index in enumerate(prompts)}, TextCondition.cat(parts))


def _about(pair: PromptPair, plan: PromptPlan) -> int:
    """The concept that a prompt has a gap for; the first if it names none."""
    return next((number for number, concept in enumerate(plan.concepts) if says(pair.prompt, concept.names)), 0)
