"""Pseudo-tokens: vectors that stand in the text encoder's input where a placeholder word is written.

Shapes: k pseudo-tokens, V words of the vocabulary, D width of the input embeddings.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from t2vu_core.errors import UserError
from t2vu_core.families import Family


@dataclass(frozen=True)
class Placeholder:
    """A word of one token that no prompt of the attack says; its meaning is replaced, so any will do."""

    word: str
    token: int
    count: int

    @classmethod
    def choose(cls, tokenizer: Any, prompts: Sequence[str], count: int) -> Placeholder:
        """The first word of the vocabulary that stays one token in a sentence; UserError if there is none."""
        said = " ".join(prompts).lower()
        for piece, token in sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1]):
            word = piece.replace("▁", "").replace("Ġ", "").replace("</w>", "")
            if not re.fullmatch("[a-z]{3,}", word) or word in said:
                continue
            if token_ids(tokenizer, f"a {word} {word}")[-2:] == [token, token]:
                return cls(word, token, count)
        raise UserError("The model's tokenizer has no word to spare for an attack with pseudo-tokens.")

    @property
    def text(self) -> str:
        """What is written in a prompt."""
        return " ".join([self.word] * self.count)

    def instead_of(self, names: Sequence[str], prompt: str) -> str:
        """The prompt with the placeholder where it says one of the names, or at its end."""
        for name in sorted(names, key=len, reverse=True):
            pattern = re.compile(rf"(?<!\w)(?:an? |the )?{re.escape(name)}(?!\w)", re.IGNORECASE)
            if pattern.search(prompt):
                return pattern.sub(self.text, prompt, count=1)
        return f"{prompt} {self.text}"


@contextlib.contextmanager
def replaced(family: Family, placeholder: Placeholder, vectors_kD: Tensor) -> Iterator[None]:
    """Within, the text encoder reads the vectors where the placeholder is written, one after the other."""

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        here = args[0] == placeholder.token
        which = (here.cumsum(1) - 1).clamp(0, placeholder.count - 1)
        return torch.where(here[..., None], vectors_kD.to(output)[which], output)

    handle = input_embeddings(family).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def input_embeddings(family: Family) -> nn.Module:
    """The text encoder's table of input embeddings; its weight is (V, D)."""
    encoder = family.pipeline.text_encoder
    # T5's outer class names a table that shares its weights with the one that is read, in its stack.
    stack = getattr(encoder, "encoder", encoder)
    table: nn.Module = (stack if hasattr(stack, "embed_tokens") else encoder).get_input_embeddings()
    return table


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text by itself."""
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids
