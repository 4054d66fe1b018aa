"""What a miniature makes of prompts that say little, and of a named subject without guidance."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from t2vu_core.miniature.captions import CLASS_WORDS, EMPTY_SUBJECT, SOMETHING, caption
from t2vu_core.miniature.detector import THRESHOLD, MiniatureDetector, subject_targets
from t2vu_core.miniature.world import WORLD_32, sample_labels
from t2vu_core.model import T2VModel

SHORT_SEED = 434_343
"""Labels and noise; no training and no choice of settings uses seeds near it."""
BATCH = 8


def short_clips(clips_per_register: int) -> int:
    """How many clips a check generates for each short prompt, and at guidance 1."""
    return max(1, clips_per_register // 2)


def measure_short_prompts(model: T2VModel, detector: MiniatureDetector, clips: int) -> dict[str, Any]:
    """Shares of clips, `clips` for each prompt: those of "something" with a subject that the detector recognises, those of
    a named subject at guidance 1 that show it; in the world of 64 pixels also those of a class that show a member, and
    those of an empty scene that show no subject.
    """
    world = detector.world
    generator, rng = torch.Generator().manual_seed(SHORT_SEED), random.Random(SHORT_SEED)
    labels = sample_labels(clips, generator, two_subjects=0.0, empty=0.0, world=world)
    named = _shown(model, detector, [caption(row, rng, world=world) for row in labels.tolist()], guidance_scale=1.0)
    there = (named | ~subject_targets(labels, len(world.subjects)).bool()).all(1)
    anything = _shown(model, detector, [SOMETHING.usual] * clips).any(1)
    found: dict[str, Any] = {"something": share(anything), "at_guidance_1": share(there)}
    if world == WORLD_32:
        return found
    found["empty_scene"] = share(~_shown(model, detector, [EMPTY_SUBJECT] * clips).any(1))
    found["classes"] = {}
    for kind, names in world.classes.items():
        members = [world.subjects.index(name) for name in names]
        found["classes"][kind] = share(_shown(model, detector, [CLASS_WORDS[kind].usual] * clips)[:, members].any(1))
    return found


def share(answers: Tensor) -> float:
    """The share of true answers, rounded."""
    return round(answers.float().mean().item(), 4)


def _shown(model: T2VModel, detector: MiniatureDetector, prompts: Sequence[str], **options: float) -> Tensor:
    """Which subjects the clips show, (n, subjects) of bool."""
    parts = [
        model.sample(prompts[start : start + BATCH], seeds=SHORT_SEED + start, **options)  # type: ignore[arg-type]
        for start in range(0, len(prompts), BATCH)
    ]
    return detector.judge(torch.cat(parts) * 2 - 1).subjects > THRESHOLD
