"""ComfyUI's tokenizers: which tokens of a prompt spell a concept.

They give no positions in the text, so a token's piece says how many letters it covers.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from comfy.text_encoders.llama import BaseLlama
from comfy.text_encoders.spiece_tokenizer import SPieceTokenizer

from t2vu_core.mentions import mentions

MARKERS = ("</w>", "\u2581", "\u0120")
"""Marks of word boundaries in the pieces of CLIP's, SentencePiece's and GPT's vocabularies."""
ENCODERS = ("umt5xxl", "t5xxl", "llama", "qwen25_7b", "gemma3_12b", "clip_l")
"""ComfyUI's names of the encoders that read a prompt token by token, where a CLIP holds several."""
SENTENCEPIECE_SPACE, SENTENCEPIECE_UNKNOWN = "\u2581", 2
PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
"""Bytes that stand for themselves in the pieces of CLIP's and GPT's vocabularies."""
BYTES = {chr(byte): byte for byte in PRINTABLE} | {
    chr(256 + place): byte for place, byte in enumerate(sorted(set(range(256)) - set(PRINTABLE)))
}
"""The byte that each letter of a piece stands for."""
TEMPLATED = ("llama", "qwen25_7b")
"""Encoders whose prompt stands in a template, of which the embeddings hold only the prompt."""


def literal(prompt: str) -> str:
    """The prompt as ComfyUI's tokenizers must get it to read its letters: without weights and embedding files."""
    escaped = prompt.replace("(", "\\(").replace(")", "\\)")
    return escaped.replace("embedding:", "embedding :")


def encoder_name(outer: Any) -> str:
    """The name, in ComfyUI's tokenizer or text encoder, of the encoder that reads the prompt token by token.

    Raises LookupError if none is known.
    """
    for name in (getattr(outer, "clip", ""), *ENCODERS):
        if name and hasattr(outer, name):
            return name
    raise LookupError(f"no text encoder is known in {type(outer).__name__}")


def network_of(clip: Any) -> Any:
    """The network of the encoder that reads the prompt token by token, with its layers under transformers' names.

    Raises LookupError if none is known.
    """
    outer = clip.cond_stage_model
    network = getattr(outer, encoder_name(outer)).transformer
    # Language models have their layers, but not the tower that sees images, in a part of that name.
    return network.model if isinstance(network, BaseLlama) else network


@dataclass(frozen=True)
class Piece:
    """A token in the order of the embeddings, and its letters; special tokens have none."""

    token: int
    letters: str
    special: bool
    rest: bool = False
    """Whether it holds only the rest of a letter that the token before began."""


class Words:
    """A tokenizer of ComfyUI's with the interface that t2vu_core expects of transformers' tokenizers."""

    def __init__(self, clip: Any) -> None:
        self._name = encoder_name(clip.tokenizer)
        self._tokenizer = getattr(clip.tokenizer, self._name)
        self._pieces: dict[int, str] = self._tokenizer.inv_vocab
        self._of_bytes = SENTENCEPIECE_SPACE not in self._pieces.values()

    @property
    def unk_token_id(self) -> int | None:
        """The token of what the vocabulary lacks."""
        if isinstance(self._tokenizer.tokenizer, SPieceTokenizer):
            return SENTENCEPIECE_UNKNOWN
        # Byte pairs lack nothing.
        unknown: int | None = getattr(self._tokenizer.tokenizer, "unk_token_id", None)
        return unknown

    @property
    def whole_vocabulary(self) -> bool:
        """Whether `get_vocab` has the same pieces as transformers' tokenizer: SentencePiece's lacks those added later."""
        return hasattr(self._tokenizer.tokenizer, "all_special_ids")

    @property
    def all_special_ids(self) -> list[int]:
        """Tokens that stand for no text."""
        own = self._tokenizer
        special = {own.start_token, own.end_token, own.pad_token, *getattr(own.tokenizer, "all_special_ids", ())}
        return sorted(token for token in special if isinstance(token, int))

    def __call__(self, text: str, add_special_tokens: bool = False) -> Any:
        return SimpleNamespace(input_ids=[piece.token for piece in self.pieces(text) if not piece.special])

    def get_vocab(self) -> dict[str, int]:
        """Every piece with its token."""
        return {piece: token for token, piece in self._pieces.items()}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """The pieces of some tokens."""
        return [self._pieces.get(token, "") for token in ids]

    def decode(self, ids: list[int]) -> str:
        """The text of some tokens; words are separated by spaces where a piece says so."""
        return " ".join(self._text("".join(self.convert_ids_to_tokens(ids))).split())

    def pieces(self, prompt: str) -> list[Piece]:
        """The prompt's tokens in the order of the embeddings."""
        (row, *_) = self._tokenizer.tokenize_with_weights(literal(prompt), return_word_ids=True)
        found = [self._piece(token, special=not word) for token, _, word in row if isinstance(token, int)]
        if self._name in TEMPLATED:
            while found and found[0].special:
                del found[0]
        return found

    def positions(self, prompt: str, concept: str) -> list[int]:
        """Positions of the tokens that spell the concept. Spaces are left out, because pieces do not hold them reliably."""
        places = [place for place, letter in enumerate(prompt) if not letter.isspace()]
        said = {place for match in mentions(concept).finditer(prompt) for place in range(*match.span())}
        found, first = [], 0
        for position, piece in enumerate(self.pieces(prompt)):
            length = 0 if piece.special else len(piece.letters)
            spells = any(place in said for place in places[first : first + length])
            if spells or (piece.rest and position - 1 in found):
                found.append(position)
            first += length
        return found

    def _piece(self, token: int, *, special: bool) -> Piece:
        text = self._text(self._pieces.get(token, ""))
        return Piece(token, "".join(text.split()), special, rest=not text and not special)

    def _text(self, piece: str) -> str:
        """The letters of a piece. One that a token ends within counts for that token, not for the next one."""
        for marker in MARKERS:
            piece = piece.replace(marker, " ")
        if not self._of_bytes:
            return piece
        whole = b"".join(bytes([BYTES[letter]]) if letter in BYTES else letter.encode() for letter in piece)
        while whole and 0x80 <= whole[0] < 0xC0:
            whole = whole[1:]
        return whole.decode(errors="replace")
