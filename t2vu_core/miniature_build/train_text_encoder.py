"""The text encoder learns to read before it guides: every fact of a caption from the mean of its states.

Real text-to-video models start from a text encoder that knows its language. Started from random weights
instead, the denoiser learns styles and backgrounds long before it knows one subject's word from another.
"""

from __future__ import annotations

import logging
import random
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel, PreTrainedTokenizerBase, T5EncoderModel

from t2vu_core.miniature.captions import REGISTERS, caption
from t2vu_core.miniature.world import (
    BACKGROUNDS,
    FIRST,
    MOTION,
    MOTIONS,
    NOBODY,
    SECOND,
    STYLES,
    SUBJECTS,
    sample_labels_without,
)
from t2vu_core.mixed_precision import CPU, mixed_precision

log = logging.getLogger(__name__)

# Choices in each column of the labels; a subject may be absent, which is -1 there and 0 here.
CHOICES = (len(SUBJECTS) + 1, len(SUBJECTS) + 1, len(STYLES), len(MOTIONS), len(BACKGROUNDS))
UNSAID = -100


def train_text_encoder(
    text_encoder: T5EncoderModel | CLIPTextModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    minutes: float,
    seed: int,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    without: str | None = None,
) -> float:
    """Train in place for a time budget; the share of unseen captions of which every fact is read right.

    No caption says the concept `without`.
    """
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    heads = nn.ModuleList(nn.Linear(text_encoder.config.hidden_size, count) for count in CHOICES)
    parameters = [*text_encoder.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, learning_rate, weight_decay=0.0, fused=True)
    start, step = time.monotonic(), 0
    while (done := (time.monotonic() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1, (step + 1) / 50) * max(0.02, 1 - done)
        targets, logits = _read(text_encoder, heads, tokenizer, batch_size, generator, rng, without)
        loss = torch.stack([F.cross_entropy(rows, targets[:, at], ignore_index=UNSAID) for at, rows in enumerate(logits)]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 200 == 0:
            log.info("text encoder step %d: loss %.4f, %.0f s", step, loss.item(), time.monotonic() - start)
        step += 1
    with torch.no_grad():
        targets, logits = _read(text_encoder, heads, tokenizer, 1000, generator, rng, without)
    right = torch.stack([(rows.argmax(1) == targets[:, at]) | (targets[:, at] == UNSAID) for at, rows in enumerate(logits)])
    return right.all(0).float().mean().item()


def _read(
    text_encoder: T5EncoderModel | CLIPTextModel,
    heads: nn.ModuleList,
    tokenizer: PreTrainedTokenizerBase,
    count: int,
    generator: torch.Generator,
    rng: random.Random,
    without: str | None,
) -> tuple[Tensor, list[Tensor]]:
    """Fresh captions -> their facts (count, 5) and the logits of each fact."""
    labels = sample_labels_without(without, count, generator, two_subjects=0.5)
    captions = [caption(row, rng, register=rng.choice(REGISTERS)) for row in labels.tolist()]
    tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
    with mixed_precision(CPU):
        states = text_encoder(tokens.input_ids)[0].float().mean(1)
    targets = labels.clone()
    targets[:, : SECOND + 1] += 1
    targets[labels[:, FIRST] == NOBODY, MOTION] = UNSAID
    return targets, [head(states) for head in heads]
