"""Text: what the methods need of a model's text encoders, whichever library loaded them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import nn

from t2vu_core.quantised_weights import StoredWeight, stored_parameter

COMPONENTS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2", "text_encoder_3": "tokenizer_3"}
"""The components of a diffusers pipeline: each text encoder and its tokenizer."""


@dataclass(frozen=True)
class Text:
    """The text encoders and tokenizers of a model, both by the encoder's component name.

    `text_encoder` is the one whose tokens the denoiser reads one by one.
    """

    encoders: Mapping[str, nn.Module]
    tokenizers: Mapping[str, Any]
    recomputed: Callable[[Iterable[nn.Module]], AbstractContextManager[None]] | None = None
    """Gradient checkpointing of an encoder's layers, where PyTorch's does not work on them."""
    refused: str = ""
    """Why the encoders cannot be trained; empty if they can."""
    note: str = ""
    """What a user should know before they are trained; empty if there is nothing to say."""
    stored: Callable[[nn.Module, str], StoredWeight] = stored_parameter
    """A parameter of an encoder's layer, by its name, as it was loaded."""

    @classmethod
    def of(cls, pipeline: Any) -> Text:
        """The text encoders of a diffusers pipeline."""
        encoders = {name: getattr(pipeline, name, None) for name in COMPONENTS}
        tokenizers = {name: getattr(pipeline, tokenizer, None) for name, tokenizer in COMPONENTS.items()}
        return cls(
            {name: encoder for name, encoder in encoders.items() if isinstance(encoder, nn.Module)},
            {name: tokenizer for name, tokenizer in tokenizers.items() if tokenizer is not None},
        )

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of `text_encoder`."""
        return self.tokenizers["text_encoder"]

    @property
    def encoder(self) -> nn.Module:
        """The text encoder `text_encoder`."""
        return self.encoders["text_encoder"]
