"""Pseudo-tokens: vectors that replace the input embeddings of a placeholder word, and how they are learned.

Shapes: k pseudo-tokens, V words of the vocabulary, D width of the input embeddings, C clips.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from t2vu_core.errors import UserError
from t2vu_core.families import ClipSize, Family
from t2vu_core.mentions import mentions
from t2vu_core.training.noising import denoising_loss

RELATIVE_LEARNING_RATE = 0.1
"""Relative to the standard deviation of the embedding table: tables differ by orders of magnitude."""


@dataclass(frozen=True)
class Placeholder:
    """A word of one token that no prompt of the attack contains; its embedding is replaced, so any will do."""

    word: str
    token: int
    count: int

    @classmethod
    def choose(cls, tokenizer: Any, prompts: Sequence[str], count: int) -> Placeholder:
        """The first word of the vocabulary that stays one token in a sentence, else a letter or digit; UserError if none."""
        used = {token for prompt in prompts for token in token_ids(tokenizer, prompt)}
        said = " ".join(prompts).lower()
        pieces = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        for form in ("[a-z]{3,}", "[a-z0-9]{1,2}"):
            for piece, token in pieces:
                word = piece.replace("▁", "").replace("Ġ", "").replace("</w>", "")
                if not re.fullmatch(form, word) or token in used or (len(word) > 2 and word in said):
                    continue
                if token_ids(tokenizer, f"a {word} {word}")[-2:] == [token, token]:
                    return cls(word, token, count)
        raise UserError("The model's tokenizer has no unused word of one token, which learning tokens needs.")

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


def table_of(family: Family) -> Tensor:
    """The values of the input embedding table, (V, D)."""
    table: Tensor = input_embeddings(family).weight  # type: ignore[assignment]
    return table.detach().float()


def drawn_tokens(table_VD: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """The embeddings of tokens drawn at random, (k, D)."""
    return table_VD[torch.randint(0, len(table_VD), (count,), generator=generator)].clone()


@dataclass(frozen=True)
class ClipsToDenoise:
    """Clips of one size, and the prompts with the placeholder that are to describe them."""

    texts: Sequence[str]
    clean: Tensor
    """Their latents, (C, ...)."""
    size: ClipSize


class TokenLearner:
    """Learns vectors with which a model denoises clips: the attack of PROBE (arXiv 2603.21547).

    The paper adds a loss on x_0, which for diffusion only weights the timesteps differently. `read` maps the learned (k, D)
    to the vectors that the text encoder gets.
    """

    def __init__(
        self,
        family: Family,
        placeholder: Placeholder,
        clips: ClipsToDenoise,
        start_kD: Tensor,
        generator: torch.Generator,
        *,
        batch_size: int,
        read: Callable[[Tensor], Tensor] = lambda soft: soft,
    ) -> None:
        self.losses: list[float] = []
        self._family, self._placeholder, self._clips = family, placeholder, clips
        self._generator, self._batch_size, self._read = generator, batch_size, read
        with torch.inference_mode(False):
            self._soft = start_kD.clone().requires_grad_()
            rate = RELATIVE_LEARNING_RATE * float(table_of(family).std())
            self._optimizer = torch.optim.AdamW([self._soft], rate, weight_decay=0.0)

    def learn(self, until: int, on_step: Callable[[], None] = lambda: None) -> Tensor:
        """Take steps until there are so many, and return the vectors that the encoder gets, (k, D).

        Gradients reach the vectors alone, so that a training run may call this between two of its steps.
        """
        with torch.inference_mode(False), torch.enable_grad():
            while len(self.losses) < until:
                loss = self._loss()
                (self._soft.grad,) = torch.autograd.grad(loss, [self._soft])
                self._optimizer.step()
                self.losses.append(loss.item())
                on_step()
            return self._read(self._soft).detach()

    def _loss(self) -> Tensor:
        texts, family = self._clips.texts, self._family
        rows = torch.randperm(len(texts), generator=self._generator)[: self._batch_size].tolist()
        with replaced(family, self._placeholder, self._read(self._soft)):
            condition = family.encode_with_gradients([texts[row] for row in rows])
        return denoising_loss(family, self._clips.clean[rows], condition, self._clips.size, self._generator)
