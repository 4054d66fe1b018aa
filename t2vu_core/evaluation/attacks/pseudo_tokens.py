"""Pseudo-tokens: vectors that replace the input embeddings of a placeholder word.

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
from t2vu_core.mentions import mentions


@dataclass(frozen=True)
class Placeholder:
    """A word of one token that no prompt of the attack contains; its embedding is replaced, so any will do."""

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
        raise UserError("The model's tokenizer has no unused one-token word, which this attack needs.")

    @property
    def text(self) -> str:
        """The text to write into a prompt."""
        return " ".join([self.word] * self.count)

    def instead_of(self, names: Sequence[str], prompt: str) -> str:
        """The prompt with the placeholder in place of one of the names, else of its own words in another form, or appended."""
        for name in sorted(names, key=len, reverse=True):
            pattern = re.compile(rf"(?<!\w)(?:an? |the )?{re.escape(name)}(?!\w)", re.IGNORECASE)
            if pattern.search(prompt):
                return pattern.sub(self.text, prompt, count=1)
        for name in sorted(names, key=len, reverse=True):
            if mentions(name).search(prompt):
                return mentions(name).sub(self.text, prompt, count=1)
        return f"{prompt} {self.text}"


@contextlib.contextmanager
def replaced(family: Family, placeholder: Placeholder, vectors_kD: Tensor) -> Iterator[None]:
    """Within the context the text encoder reads the vectors in place of the placeholder's tokens, in order."""

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
    """The text encoder's input embedding table; its weight is (V, D)."""
    encoder: Any = family.text.encoder
    # T5's outer class names a table that shares its weights with the one that is read, in its stack.
    stack = getattr(encoder, "encoder", encoder)
    table: nn.Module = (stack if hasattr(stack, "embed_tokens") else encoder).get_input_embeddings()
    return table


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text, without special tokens."""
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids
