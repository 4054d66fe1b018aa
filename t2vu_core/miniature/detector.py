"""The miniature's detector: which subjects, style, motion and background a clip shows.

Frames pass through a small 2D network one by one, so that subjects are known per frame. Subjects are
independent yes/no questions: none may be there, or two. Style, motion and background are one of several.
Trained with blur, noise, the VAE's own errors, empty scenes and glyphs that are no known subject, so that
it judges generated clips and not only renders.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from t2vu_core.miniature.world import (
    BACKGROUND,
    BACKGROUNDS,
    FIRST,
    MOTION,
    MOTIONS,
    NUM_FRAMES,
    SECOND,
    STYLE,
    STYLES,
    SUBJECTS,
    render,
    sample_labels,
)
from t2vu_core.miniature_build.averaging import MovingAverage

log = logging.getLogger(__name__)

THRESHOLD = 0.5
# Augmentation grows over this share of the training: who learns to tell cat from panda sees them sharp first.
RAMP = 0.4
GLIMPSE = 3


@dataclass(frozen=True)
class Detection:
    """What n clips show. Probabilities: `subjects` (n, 12), `subjects_by_frame` (n, 9, 12); the rest (n, choices)."""

    subjects: Tensor
    subjects_by_frame: Tensor
    style: Tensor
    motion: Tensor
    background: Tensor

    def shows(self, subject: str) -> Tensor:
        """Whether each clip shows the subject: bool (n,)."""
        return self.subjects[:, SUBJECTS.index(subject)] > THRESHOLD

    def has_style(self, style: str) -> Tensor:
        """Whether each clip is in the style: bool (n,)."""
        return self.style.argmax(1) == STYLES.index(style)


class MiniatureDetector(nn.Module):
    """Clips (n, 9, 3, 32, 32) in [-1, 1] -> logits of each attribute."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
            return nn.Sequential(conv, nn.GroupNorm(8, outputs), nn.SiLU())

        self.frames = nn.Sequential(
            block(3, width, 1),
            block(width, 2 * width, 2),
            block(2 * width, 2 * width, 1),
            block(2 * width, 3 * width, 2),
            block(3 * width, 3 * width, 1),
        )
        features = 128
        self.project = nn.Sequential(nn.Conv2d(3 * width, 32, 1), nn.SiLU(), nn.Flatten(), nn.Linear(32 * 64, features))
        self.subject = nn.Sequential(nn.SiLU(), nn.Linear(features, features), nn.SiLU(), nn.Linear(features, len(SUBJECTS)))
        self.clip = nn.Sequential(nn.SiLU(), nn.Linear(features, features), nn.SiLU())
        self.style = nn.Linear(features, len(STYLES))
        self.background = nn.Linear(features, len(BACKGROUNDS))
        self.motion = nn.Sequential(
            nn.SiLU(), nn.Linear(NUM_FRAMES * 32, features), nn.SiLU(), nn.Linear(features, len(MOTIONS))
        )
        self.to_motion = nn.Linear(features, 32)

    def forward(self, clips_BFCHW: Tensor) -> dict[str, Tensor]:
        """Logits of each attribute; of the motion only where all frames are given."""
        count, num_frames = clips_BFCHW.shape[:2]
        frames = self.project(self.frames(clips_BFCHW.flatten(0, 1))).unflatten(0, (count, num_frames)).float()
        clip = self.clip(frames.mean(1))
        logits = {"subjects_by_frame": self.subject(frames), "style": self.style(clip), "background": self.background(clip)}
        if num_frames == NUM_FRAMES:
            logits["motion"] = self.motion(self.to_motion(frames).flatten(1))
        return logits

    @torch.no_grad()
    def judge(self, clips_BFCHW: Tensor, *, batch_size: int = 64) -> Detection:
        """Judge clips (n, 9, 3, 32, 32) in [-1, 1]."""
        parts = [self(part) for part in clips_BFCHW.float().split(batch_size)]
        logits = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        by_frame = logits["subjects_by_frame"]
        return Detection(
            subjects=by_frame.mean(1).sigmoid(),
            subjects_by_frame=by_frame.sigmoid(),
            style=logits["style"].softmax(1),
            motion=logits["motion"].softmax(1),
            background=logits["background"].softmax(1),
        )


def load_detector(path: Path) -> MiniatureDetector:
    """Load detector weights (any float dtype) for judging in fp32."""
    detector = MiniatureDetector()
    detector.load_state_dict({name: value.float() for name, value in load_file(str(path)).items()})
    return detector.eval().requires_grad_(False)


def subject_targets(labels: Tensor) -> Tensor:
    """Labels (n, 5) -> which subjects are there, (n, 12) of 0 and 1; unknown glyphs count as none."""
    targets = torch.zeros(len(labels), len(SUBJECTS))
    for column in (FIRST, SECOND):
        known = (labels[:, column] >= 0) & (labels[:, column] < len(SUBJECTS))
        targets[known, labels[known, column]] = 1
    return targets


def augment(clips: Tensor, generator: torch.Generator, *, strength: float = 1.0) -> Tensor:
    """Blur, noise, contrast and brightness at random strengths, so that soft generated clips are judged too.

    `strength` 0 leaves the clips as they are.
    """
    count = len(clips)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, 1, generator=generator) * (high - low) + low

    blurred = clips.flatten(0, 1)
    for _ in range(int(torch.randint(1, 3, (1,), generator=generator))):
        blurred = F.avg_pool2d(F.pad(blurred, (1, 1, 1, 1), mode="replicate"), 3, 1)
    weight = strength * uniform(-0.6, 1.0).clamp(min=0)
    clips = clips * (1 - weight) + blurred.view_as(clips) * weight
    noise = torch.randn(clips.shape, generator=generator) * strength * uniform(-0.05, 0.16).clamp(min=0)
    contrast, brightness = 1 + strength * uniform(-0.1, 0.1), strength * uniform(-0.06, 0.06)
    return (clips * contrast + brightness + noise).clamp(-1, 1)


def ruin(clips: Tensor, generator: torch.Generator) -> Tensor:
    """Clips in which nobody can be recognised: blurred to blobs, shuffled in blocks, or noise."""
    kinds = torch.randint(0, 3, (len(clips),), generator=generator)
    small = F.interpolate(clips.flatten(0, 1), size=4, mode="area")
    blobs = F.interpolate(small, size=clips.shape[-1], mode="bilinear").view_as(clips)
    blocks = clips.unflatten(4, (4, 8)).unflatten(3, (4, 8)).permute(0, 1, 2, 3, 5, 4, 6).flatten(3, 4)
    shuffled = blocks[:, :, :, torch.randperm(16, generator=generator)].unflatten(3, (4, 4))
    shuffled = shuffled.permute(0, 1, 2, 3, 5, 4, 6).flatten(5, 6).flatten(3, 4)
    noise = (blobs + 0.8 * torch.randn(clips.shape, generator=generator)).clamp(-1, 1)
    pick = kinds[:, None, None, None, None]
    return torch.where(pick == 0, blobs, torch.where(pick == 1, shuffled, noise))


def train_detector(
    detector: MiniatureDetector,
    *,
    minutes: float,
    seed: int,
    reconstruct: Callable[[Tensor], Tensor] | None = None,
    batch_size: int = 48,
) -> None:
    """Train in place for a time budget. `reconstruct`: clips -> the VAE's version of them, every other batch.

    Two batches of three show few frames of many clips: the frames of one clip teach the subjects little
    more than one of them does.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = sample_labels(10_000, generator, distractors=0.20, empty=0.10, two_subjects=0.45)
    pool = render(labels, generator).to(torch.bfloat16)
    versions = [pool] if reconstruct is None else [pool, reconstruct(pool)]
    optimizer = torch.optim.AdamW(detector.parameters(), 3e-3, weight_decay=2e-2)
    average = MovingAverage(detector.parameters(), decay=0.99)
    start, step = time.monotonic(), 0
    while (done := (time.monotonic() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 50) * max(0.01, min(1, (1 - done) / 0.6))
        glimpse = step % 3 > 0
        count = batch_size * NUM_FRAMES // GLIMPSE if glimpse else batch_size
        rows = torch.randint(0, len(pool), (count,), generator=generator)
        frames = torch.randperm(NUM_FRAMES, generator=generator)[: GLIMPSE if glimpse else NUM_FRAMES].sort().values
        clips, facts = versions[step % len(versions)][rows[:, None], frames].float(), labels[rows]
        loss = _loss(detector, clips, facts, generator, strength=min(1, done / RAMP))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 1.0)
        optimizer.step()
        average.update()
        if step % 100 == 0:
            log.info("detector step %d: loss %.4f, %.0f s", step, loss.item(), time.monotonic() - start)
        step += 1
    average.copy_to_parameters()
    log.info("detector: %d steps", step)


def _loss(detector: MiniatureDetector, clips: Tensor, labels: Tensor, generator: torch.Generator, *, strength: float) -> Tensor:
    ruined = len(clips) // 12
    clips = torch.cat([augment(clips, generator, strength=strength), ruin(clips[:ruined], generator)])
    targets = torch.cat([subject_targets(labels), torch.zeros(ruined, len(SUBJECTS))])
    with torch.autocast("cpu", torch.bfloat16):
        logits = detector(clips)
    by_frame = targets[:, None].expand(-1, clips.shape[1], -1)
    loss = 8 * F.binary_cross_entropy_with_logits(logits["subjects_by_frame"], by_frame)
    loss = loss + 4 * F.binary_cross_entropy_with_logits(logits["subjects_by_frame"].mean(1), targets)
    intact = slice(0, len(labels))
    somebody = labels[:, FIRST] >= 0
    loss = loss + F.cross_entropy(logits["style"][intact], labels[:, STYLE])
    loss = loss + F.cross_entropy(logits["background"][intact], labels[:, BACKGROUND])
    if "motion" in logits:
        loss = loss + F.cross_entropy(logits["motion"][intact][somebody], labels[somebody, MOTION])
    return loss
