"""Tiny tokenizers of the real classes, learned from a few sentences, for transformers 4 and 5.

transformers 5 builds a tokenizer from a vocabulary in memory; transformers 4 reads one from files.
"""

from __future__ import annotations

import json
import string
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import transformers as t
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

CORPUS = [
    " ".join(string.ascii_letters + string.digits + string.punctuation),
    "a red ghost floats over a quiet green hill at night",
    "two ghosts and a clown dance slowly in the rain, seen from far away",
    "a street in pixel art style, with an old clown and a small dog",
    "the portrait of a robot, in pixel art style",
    "a polar bear plays drums on a square; the camera moves closer",
    "Describe the video by detailing the following aspects: 1. The main content and theme of the video.",
    "The color, shape, size, texture, quantity, text, and spatial relationships of the objects.",
    "Actions, events, behaviors temporal relationships, physical movement changes of the objects.",
    "background environment, light, style and atmosphere. camera angles, movements, and transitions used in the video:",
]
FROM_FILES = int(t.__version__.split(".")[0]) < 5
"""Whether tokenizers are built from files: transformers 4."""
T5_TABLE = "shared" if FROM_FILES else "encoder.embed_tokens"
"""What T5's table of tokens is called first among its modules."""


@cache
def t5_tokenizer() -> Any:
    """A Unigram tokenizer of T5's class: the corpus' letters and words.

    Not learned: training leaves ties to chance, and every process would have another vocabulary.
    """
    words = {f"▁{word}" for sentence in CORPUS for word in sentence.split() if len(word) > 1}
    pieces = ["<pad>", "</s>", "<unk>", "▁", *sorted(set("".join(CORPUS)) - {" "}), *sorted(words)]
    scores = [(piece, 0.0 if rank < 3 else -2.0 - rank / 50) for rank, piece in enumerate(pieces)]
    if not FROM_FILES:
        return t.T5Tokenizer(vocab=scores, extra_ids=0, model_max_length=128)
    return t.T5TokenizerFast(tokenizer_object=_t5_backend(scores), extra_ids=0, model_max_length=128)


def _t5_backend(scores: list[tuple[str, float]]) -> Tokenizer:
    """What transformers 5 builds for T5, as the `tokenizers` library has it."""
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=2, byte_fallback=False))
    metaspace = {"replacement": "▁", "prepend_scheme": "always", "split": True}
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(**metaspace)])
    tokenizer.decoder = decoders.Metaspace(**metaspace)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def llama_tokenizer() -> Any:
    """Byte pairs as in Llama 3, whose tokenizer is of this generic class; the template's markers are single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    markers = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|pad|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=520, special_tokens=markers, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    return t.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=markers[0], pad_token=markers[4], padding_side="right"
    )


def clip_tokenizer(vocabulary: dict[str, int] | None = None) -> Any:
    """Single letters in CLIP's class; or the pieces of a vocabulary."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789.,;:'-")
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = vocabulary or {piece: index for index, piece in enumerate(pieces)}
    return _byte_pairs(t.CLIPTokenizer, vocabulary, [], model_max_length=77)


QWEN_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def qwen_tokenizer() -> Any:
    """The byte pairs of `llama_tokenizer` in Qwen's class, with the markers and the template of its chats."""
    model = json.loads(llama_tokenizer().backend_tokenizer.to_str())["model"]
    markers = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = dict(zip([*markers, *[piece for piece in model["vocab"] if piece[:2] != "<|"]], range(1000), strict=False))
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = _byte_pairs(t.Qwen2Tokenizer, vocabulary, merges, additional_special_tokens=markers[1:])
    tokenizer.chat_template = QWEN_CHAT
    return tokenizer


def _byte_pairs(kind: type, vocabulary: dict[str, int], merges: list[tuple[str, str]], **settings: Any) -> Any:
    if not FROM_FILES:
        return kind(vocab=vocabulary, merges=merges, **settings)
    with tempfile.TemporaryDirectory() as folder:
        vocabulary_file, merges_file = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocabulary_file.write_text(json.dumps(vocabulary), encoding="utf-8")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
        merges_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return kind(str(vocabulary_file), str(merges_file), **settings)
