"""Trains a detector: on renders, on what the VAE makes of them, and on ruined clips, on a CPU or a GPU.

Blur, noise, the VAE's own errors, empty scenes and glyphs that are no known subject teach it to judge generated
clips and not only renders.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.erasure import atomic_path
from t2vu_core.miniature.detector import MiniatureDetector, augment, ruin, subject_targets
from t2vu_core.miniature.world import render, sample_labels
from t2vu_core.miniature.worlds import BACKGROUND, FIRST, MOTION, NUM_FRAMES, STYLE
from t2vu_core.miniature_build.averaging import MovingAverage
from t2vu_core.mixed_precision import mixed_precision

log = logging.getLogger(__name__)

PEAK = 3e-3
# Augmentation grows over this share of the training: who learns to tell cat from panda sees them sharp first.
RAMP = 0.4
# Two batches of three show few frames of many clips: the frames of one clip teach the subjects little more than one.
GLIMPSE = 3
SECONDS_BETWEEN_STATES = 30.0
Reconstruct = Callable[[Tensor], Tensor]


def train_detector(
    detector: MiniatureDetector,
    *,
    seconds: float,
    seed: int,
    reconstruct: Reconstruct | None = None,
    device: torch.device | str = "cpu",
    num_clips: int = 10_000,
    batch_size: int = 48,
    state: Path | None = None,
) -> None:
    """Train in place for a time budget, and leave the moving average of the weights in the detector, on `device`.

    `reconstruct`: clips -> the VAE's version of them, every other batch; both lie on `device` in bf16, 55 kB a clip of 32
    pixels and 221 kB of 64, twice with `reconstruct`. Rendering them comes on top of the budget. A training run that was
    interrupted goes on from the file `state`, which is written every half minute and at the end. On a GPU, batches of
    256 and more keep it busy.
    """
    where = torch.device(device)
    generator = torch.Generator(where).manual_seed(seed)
    pool = _Pool.draw(detector, num_clips, generator, reconstruct)
    course = _Course(detector.to(where).train(), generator, state)
    while (done := course.spent / seconds) < 1:
        began = time.monotonic()
        clips, labels = pool.batch(course.step, batch_size, generator)
        for group in course.optimizer.param_groups:
            group["lr"] = PEAK * min(1, (course.step + 1) / 50) * max(0.01, min(1, (1 - done) / 0.6))
        loss = _loss(detector, clips, labels, generator, strength=min(1, done / RAMP))
        course.take_step(loss)
        course.spent += time.monotonic() - began
        course.save_if_due()
    course.finish()


@dataclass
class _Pool:
    """The clips to train on: labels (n, 5), and the clips themselves as rendered and as the VAE draws them, in bf16."""

    labels: Tensor
    versions: list[Tensor]

    @classmethod
    @torch.no_grad()
    def draw(
        cls, detector: MiniatureDetector, num_clips: int, generator: torch.Generator, reconstruct: Reconstruct | None
    ) -> _Pool:
        world = detector.world
        labels = sample_labels(num_clips, generator, distractors=0.20, empty=0.10, two_subjects=0.45, world=world)
        parts = [render(rows, generator, world=world).to(torch.bfloat16) for rows in labels.split(512)]
        pool = torch.cat(parts)
        return cls(labels, [pool] if reconstruct is None else [pool, reconstruct(pool).to(torch.bfloat16)])

    def batch(self, step: int, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A batch of whole clips every third step, else few frames of three times as many clips."""
        glimpse, device = step % 3 > 0, generator.device
        count = batch_size * NUM_FRAMES // GLIMPSE if glimpse else batch_size
        rows = torch.randint(0, len(self.labels), (count,), generator=generator, device=device)
        order = torch.randperm(NUM_FRAMES, generator=generator, device=device)
        frames = order[: GLIMPSE if glimpse else NUM_FRAMES].sort().values
        return self.versions[step % len(self.versions)][rows[:, None], frames].float(), self.labels[rows]


@dataclass
class _Course:
    """Steps, seconds and moving average of a training run, and their state on disk."""

    detector: MiniatureDetector
    generator: torch.Generator
    state: Path | None
    step: int = 0
    spent: float = 0.0
    optimizer: torch.optim.AdamW = field(init=False)
    average: MovingAverage = field(init=False)
    saved: float = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.detector.parameters(), PEAK, weight_decay=2e-2)
        self.average = MovingAverage(self.detector.parameters(), decay=0.99)
        if self.state is not None and self.state.is_file():
            self._load(self.state)
        self.saved = self.spent

    def take_step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.detector.parameters(), 1.0)
        self.optimizer.step()
        self.average.update()
        if self.step % 100 == 0:
            log.info("detector step %d: loss %.4f, %.0f s", self.step, loss.item(), self.spent)
        self.step += 1

    def save_if_due(self) -> None:
        if self.spent >= self.saved + SECONDS_BETWEEN_STATES:
            self.save()

    def finish(self) -> None:
        self.save()
        self.average.copy_to_parameters()
        log.info("detector: %d steps in %.0f s", self.step, self.spent)

    def save(self) -> None:
        self.saved = self.spent
        if self.state is None:
            return
        values = {
            "step": self.step,
            "spent": self.spent,
            "updates": self.average.updates,
            "parameters": [parameter.detach() for parameter in self.average.parameters],
            "average": self.average.values,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }
        with atomic_path(self.state) as temporary:
            torch.save(values, temporary)

    @torch.no_grad()
    def _load(self, path: Path) -> None:
        values = torch.load(path, map_location="cpu", weights_only=True)
        self.step, self.spent, self.average.updates = values["step"], values["spent"], values["updates"]
        for own, stored in ((self.average.parameters, "parameters"), (self.average.values, "average")):
            for parameter, value in zip(own, values[stored], strict=True):
                parameter.copy_(value)
        self.optimizer.load_state_dict(values["optimizer"])
        self.generator.set_state(values["generator"])
        log.info("detector goes on from step %d, %.0f s", self.step, self.spent)


def _loss(detector: MiniatureDetector, clips: Tensor, labels: Tensor, generator: torch.Generator, *, strength: float) -> Tensor:
    ruined, num_subjects = len(clips) // 12, len(detector.world.subjects)
    clips = torch.cat([augment(clips, generator, strength=strength), ruin(clips[:ruined], generator)])
    targets = F.pad(subject_targets(labels, num_subjects), (0, 0, 0, ruined))
    with mixed_precision(clips.device):
        logits = detector(clips)
    logits = {name: value.float() for name, value in logits.items()}
    by_frame = targets[:, None].expand(-1, clips.shape[1], -1)
    # Twice the subjects, half the share that each has of the mean.
    weight = num_subjects / 12
    loss = 8 * weight * F.binary_cross_entropy_with_logits(logits["subjects_by_frame"], by_frame)
    loss = loss + 4 * weight * F.binary_cross_entropy_with_logits(logits["subjects_by_frame"].mean(1), targets)
    intact = slice(0, len(labels))
    somebody = labels[:, FIRST] >= 0
    loss = loss + F.cross_entropy(logits["style"][intact], labels[:, STYLE])
    loss = loss + F.cross_entropy(logits["background"][intact], labels[:, BACKGROUND])
    if "motion" in logits:
        loss = loss + F.cross_entropy(logits["motion"][intact][somebody], labels[somebody, MOTION])
    return loss
