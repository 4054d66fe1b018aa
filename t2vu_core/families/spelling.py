"""Which tokens of a prompt spell a concept, and whether a tokenizer knows the concept at all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from t2vu_core.errors import UserError, reading
from t2vu_core.mentions import mentions
from t2vu_core.model_folders import LOCAL


def concept_tokens(
    tokenizer: Any, text: str, concept: str, *, max_length: int, span: tuple[int, int] | None = None
) -> list[int]:
    """Positions of the tokens that spell the concept in an encoded text, wherever `text[span]` mentions it.

    They are found by the characters that each token covers, because the tokenization of a word depends on its
    neighbours. Case, the space between words, and a plural ending do not matter.
    """
    offsets = _offsets(tokenizer, text, max_length)
    said = [match.span() for match in mentions(concept).finditer(text, *(span or (0, len(text))))]
    return [
        position
        for position, (start, end) in enumerate(offsets)
        if any(start < last and end > first and text[max(start, first) : min(end, last)].strip() for first, last in said)
    ]


def token_pieces(tokenizer: Any, text: str, *, max_length: int, span: tuple[int, int] | None = None) -> list[str]:
    """What each token of an encoded text covers of `text[span]`; "" for a special token or one outside the span."""
    first, last = span or (0, len(text))
    return [text[max(start, first) : min(end, last)].strip() for start, end in _offsets(tokenizer, text, max_length)]


def _offsets(tokenizer: Any, text: str, max_length: int) -> list[tuple[int, int]]:
    encoded = _with_offsets(tokenizer)(text, truncation=True, max_length=max_length, return_offsets_mapping=True)
    offsets: list[tuple[int, int]] = encoded.offset_mapping
    return offsets


def _with_offsets(tokenizer: Any) -> Any:
    """The tokenizer, or its fast form if transformers 4 loaded the slow one, which has no character offsets."""
    return tokenizer if tokenizer.is_fast else _fast_tokenizer(tokenizer.name_or_path)


@cache
def _fast_tokenizer(folder: str) -> Any:
    from transformers import AutoTokenizer

    advice = "; install transformers 5, or add sentencepiece and protobuf to the installed version."
    with reading(f"The tokenizer in {folder} has no fast form here", advice):
        return AutoTokenizer.from_pretrained(folder, **LOCAL, use_fast=True)


def check_visible(tokenizer: Any, concepts: Sequence[str]) -> None:
    """Raise UserError if the tokenizer knows no piece of a concept."""
    for concept in concepts:
        ids = tokenizer(concept, add_special_tokens=False).input_ids
        known = [i for i in ids if i != tokenizer.unk_token_id]
        # Word-start markers are tokens of their own before an unknown piece.
        if not "".join(tokenizer.convert_ids_to_tokens(known)).strip("\u2581\u0120 "):
            raise UserError(
                f"The model's tokenizer cannot read {concept!r}: every piece of it is unknown. "
                "Describe the concept in words of the language the model was trained on."
            )
