"""The text encoder learns to read before it guides the denoiser: every fact of a caption from the mean of its states."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import T5EncoderModel

from t2vu_core.miniature.worlds import WORLD_64
from t2vu_core.miniature_build.ltx.caption_bank import PAD, SUBJECT_READINGS, UNSAID, padded
from t2vu_core.miniature_build.ltx.device import bf16
from t2vu_core.miniature_build.ltx.optimizer import MuonAdam
from t2vu_core.miniature_build.ltx.timed_run import TimedRun, trainable

log = logging.getLogger(__name__)

CHOICES = (SUBJECT_READINGS, SUBJECT_READINGS, len(WORLD_64.styles), len(WORLD_64.motions), len(WORLD_64.backgrounds))
RATE = 1e-3


def train_text_encoder(
    text_encoder: T5EncoderModel,
    tokens: Tensor,
    targets: Tensor,
    *,
    seconds: float,
    batch_size: int = 512,
    graph: bool = False,
    state: Path | None = None,
) -> float:
    """Train in place on tokens (m, t) and targets (m, 5); the share of 1,000 held-back captions read without a mistake."""
    device = tokens.device
    heads = nn.ModuleList(nn.Linear(text_encoder.config.d_model, count) for count in CHOICES).to(device)
    trainable(text_encoder, heads)
    held_back = max(1, min(1000, len(tokens) // 10))
    learned = len(tokens) - held_back

    def read(rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        ids = padded(tokens[rows])
        with bf16(device):
            states = text_encoder(ids)[0]
        said = (ids != PAD).float()[..., None]
        mean = (states.float() * said).sum(1) / said.sum(1)
        return targets[rows].long(), [head(mean) for head in heads]

    def compute_loss() -> Tensor:
        wanted, logits = read(torch.randint(0, learned, (batch_size,), device=device))
        losses = [F.cross_entropy(each, wanted[:, at], ignore_index=UNSAID) for at, each in enumerate(logits)]
        return torch.stack(losses).sum()

    optimizer = MuonAdam([], [([*text_encoder.parameters(), *heads.parameters()], RATE)])
    TimedRun("text encoder", compute_loss, optimizer, seconds=seconds, average_decay=0.99, state=state, graph=graph).run()
    with torch.no_grad():
        wanted, logits = read(torch.arange(learned, len(tokens), device=device))
    right = [(each.argmax(1) == wanted[:, at]) | (wanted[:, at] == UNSAID) for at, each in enumerate(logits)]
    return torch.stack(right).all(0).float().mean().item()
