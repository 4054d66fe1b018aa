"""Captions for a whole training run, tokenized ahead by all processor cores, so that a GPU never waits for words.

The clips' labels are the truth; the captions are not always. A share of them names a subject that is not the one
shown, as captions of real videos do: without guidance the model then draws the named subject in about the other
share of the clips, and guidance makes it certain.
"""

from __future__ import annotations

import logging
import os
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from t2vu_core.miniature.captions import CLASS_WORDS, REGISTERS, caption, draw_caption
from t2vu_core.miniature.world import sample_labels
from t2vu_core.miniature.worlds import FIRST, MOTION, NOBODY, SECOND, WORLD_64
from t2vu_core.miniature_build.ltx.architecture import MAX_TEXT_TOKENS

log = logging.getLogger(__name__)

Row = list[int]
PAD, END = 0, 1
UNSAID = -100
ROWS_PER_TASK = 2000
KINDS = tuple(WORLD_64.classes)
SUBJECT_READINGS = 1 + len(WORLD_64.subjects) + len(KINDS) + 1
"""What a caption can say of a subject: none, one of the subjects, one of the classes, something."""


@dataclass(frozen=True)
class CaptionPlan:
    """How the captions of the training clips differ from the plain truth; all are probabilities.

    `unreliable` captions name another subject, `imagined` are those of empty scenes that name one all the same,
    `vague` ones say a class or "something", `bare` ones say nothing but the subject, and in the others each other fact is
    left out with probability `drop`.
    """

    unreliable: float = 0.6
    imagined: float = 0.4
    vague: float = 0.2
    bare: float = 0.1
    drop: float = 0.12
    two_subjects: float = 0.25
    empty: float = 0.08


def make_tokenizer(*, vocabulary_size: int = 1024, num_captions: int = 20_000, seed: int = 0) -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer learned from captions; an unseen word falls into pieces."""
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    rows = sample_labels(num_captions, generator, empty=0.1, world=WORLD_64).tolist()
    corpus = [caption(row, rng, register=rng.choice(REGISTERS), vague=0.25, world=WORLD_64) for row in rows]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"-()▁"),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=MAX_TEXT_TOKENS,
    )


def build_bank(folder: Path, *, num_clips: int, per_clip: int, num_readings: int, plan: CaptionPlan, seed: int) -> None:
    """Write the tokenizer, the labels of the training clips with `per_clip` captions each, and captions to learn to read.

    The first half of a clip's captions tell the truth, whatever the plan says of unreliable and imagined ones.
    """
    tokenizer = make_tokenizer(seed=seed)
    tokenizer.save_pretrained(folder / "tokenizer")
    generator = torch.Generator().manual_seed(seed + 1)
    labels = sample_labels(num_clips, generator, two_subjects=plan.two_subjects, empty=plan.empty, world=WORLD_64)
    read = sample_labels(num_readings, generator, two_subjects=0.5, world=WORLD_64)
    path = str(folder / "tokenizer")
    tasks = [(path, rows.tolist(), per_clip, plan, seed + 2 + at) for at, rows in enumerate(labels.split(ROWS_PER_TASK))]
    reading_tasks = [(path, rows.tolist(), 1, None, seed - 1 - at) for at, rows in enumerate(read.split(ROWS_PER_TASK))]
    results = _run([*tasks, *reading_tasks])
    tokens = _padded([ids for captions, _ in results[: len(tasks)] for ids in captions])
    read_tokens = _padded([ids for captions, _ in results[len(tasks) :] for ids in captions])
    targets = torch.tensor([row for _, rows in results[len(tasks) :] for row in rows], dtype=torch.int16)
    save_file(
        {
            "labels": labels.to(torch.int16),
            "tokens": tokens.view(num_clips, per_clip, -1).contiguous(),
            "read_tokens": read_tokens,
            "read_targets": targets,
        },
        str(folder / "bank.safetensors"),
    )
    log.info("bank: %d captions of at most %d tokens, vocabulary %d", len(tokens), tokens.shape[-1], len(tokenizer))


def load_bank(folder: Path, device: torch.device) -> dict[str, Tensor]:
    """`labels` (n, 5), `tokens` (n, captions, t), `read_tokens` (m, t) and `read_targets` (m, 5), int16, on the device."""
    return {name: values.to(device) for name, values in load_file(str(folder / "bank.safetensors")).items()}


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer that the bank was made with."""
    return PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")


def padded(tokens: Tensor) -> Tensor:
    """Tokens (b, t) as int64, padded to what the pipeline feeds the text encoder."""
    return torch.nn.functional.pad(tokens.long(), (0, MAX_TEXT_TOKENS - tokens.shape[-1]))


Task = tuple[str, list[Row], int, "CaptionPlan | None", int]


def _run(tasks: list[Task]) -> list[tuple[list[list[int]], list[Row]]]:
    workers = min(os.cpu_count() or 1, 12, len(tasks) // 4)
    if workers < 2:
        return [_write(task) for task in tasks]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_write, tasks))


def _write(task: Task) -> tuple[list[list[int]], list[Row]]:
    """Token ids of `count` captions a row, and what each caption says where it is to be read."""
    folder, rows, count, plan, seed = task
    rng = random.Random(seed)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    texts: list[str] = []
    targets: list[Row] = []
    for row in rows:
        if plan is None:
            text, target = _reading(row, rng)
            texts.append(text)
            targets.append(target)
        else:
            truthful = replace(plan, unreliable=0.0, imagined=0.0)
            texts += [_training_caption(row, rng, truthful if at < count // 2 else plan) for at in range(count)]
    return [ids[:MAX_TEXT_TOKENS] for ids in tokenizer(texts).input_ids], targets


def _training_caption(row: Row, rng: random.Random, plan: CaptionPlan) -> str:
    said = list(row)
    if row[FIRST] == NOBODY:
        if rng.random() < plan.imagined:
            said[FIRST] = rng.randrange(len(WORLD_64.subjects))
    else:
        for column in (FIRST, SECOND):
            if row[column] != NOBODY and rng.random() < plan.unreliable:
                said[column] = rng.choice([at for at in range(len(WORLD_64.subjects)) if at not in row[:2]])
    return draw_caption(said, rng, dropout=0.0, bare=plan.bare, drop=plan.drop, vague=plan.vague, world=WORLD_64)


def _reading(row: Row, rng: random.Random) -> tuple[str, Row]:
    """A caption that says every fact, and the facts as classes; a fifth of the single subjects are called vaguely."""
    vague = row[FIRST] != NOBODY and row[SECOND] == NOBODY and rng.random() < 0.2
    text = caption(row, rng, register=rng.choice(REGISTERS), vague=1.0 if vague else 0.0, world=WORLD_64)
    target = [row[FIRST] + 1, row[SECOND] + 1, *row[2:]]
    if row[FIRST] == NOBODY:
        target[MOTION] = UNSAID
    if vague:
        kind = WORLD_64.drawn[row[FIRST]].kind
        words = CLASS_WORDS[kind]
        named = any(form in text for form in (words.usual, *words.seen, *words.held_out))
        target[FIRST] = 1 + len(WORLD_64.subjects) + (KINDS.index(kind) if named else len(KINDS))
    return text, target


def _padded(rows: list[list[int]]) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows], dtype=torch.int16)
