"""Trains the second judge's probes on renders: `python -m t2vu_core.evaluation.second_judge.build [32] [64]`.

49 s of processor time for the world of 32 pixels, 58 s for that of 64 (one thread, x86_64). The network stays as it is.
"""

from __future__ import annotations

import logging
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from t2vu_core.erasure import atomic_path
from t2vu_core.evaluation.second_judge.features import frame_features
from t2vu_core.evaluation.second_judge.probe import Probe, probe_path
from t2vu_core.miniature.detector import augment, ruin, subject_targets
from t2vu_core.miniature.world import render, sample_labels
from t2vu_core.miniature.worlds import NUM_FRAMES, STYLE, WORLDS, World

log = logging.getLogger(__name__)

RENDERS, RUINED, REFERENCES, UNSEEN = 2800, 300, 1200, 200
DIRECTIONS = 32
SEED = 7_910_000
"""The renders on which errors are counted have another seed."""
STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 1200, 256, 5e-3, 0.05


def build_probe(world: World, *, renders: int = RENDERS, ruined: int = RUINED, seed: int = SEED) -> Probe:
    """Learn to tell subjects and styles from features of single frames, half of them softened like generated ones."""
    generator = torch.Generator().manual_seed(seed)
    labels = sample_labels(renders, generator, distractors=0.12, empty=0.08, world=world)
    clean, soft = labels.split(renders // 2)
    features = torch.cat([_features(clean, generator, world), _features(soft, generator, world, softened=True)])
    broken = _ruined(sample_labels(ruined, generator, world=world), generator, world)
    mean, scale = features.mean(0), features.std(0) + 1e-5
    targets = torch.cat([subject_targets(labels, len(world.subjects)), torch.zeros(ruined, len(world.subjects))])
    every = (torch.cat([features, broken]) - mean) / scale
    torch.manual_seed(seed)
    subject = _fit(every, targets, F.binary_cross_entropy_with_logits, len(world.subjects))
    style = _fit(every[:renders], labels[:, STYLE], F.cross_entropy, len(world.styles))
    basis, references = _directions(every[:renders], len(clean))
    return Probe(mean, scale, *subject, *style, basis, references)


def _features(labels: Tensor, generator: torch.Generator, world: World, *, softened: bool = False) -> Tensor:
    """Features of one frame of each clip, drawn at random."""
    parts = []
    for part in labels.split(100):
        clips = render(part, generator, world=world)
        parts.append(_random_frames(augment(clips, generator) if softened else clips, generator))
    return torch.cat(parts)


def _ruined(labels: Tensor, generator: torch.Generator, world: World) -> Tensor:
    clips = [ruin(render(part, generator, world=world), generator) for part in labels.split(100)]
    return torch.cat([_random_frames(part, generator) for part in clips])


def _random_frames(clips: Tensor, generator: torch.Generator) -> Tensor:
    frames = torch.randint(0, NUM_FRAMES, (len(clips),), generator=generator)
    return frame_features(clips[torch.arange(len(clips)), frames] / 2 + 0.5)


def _fit(features: Tensor, targets: Tensor, loss: type | object, outputs: int) -> tuple[Tensor, Tensor]:
    weight = torch.zeros(outputs, features.shape[1], requires_grad=True)
    bias = torch.zeros(outputs, requires_grad=True)
    optimizer = torch.optim.AdamW([weight, bias], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(0, len(features), (BATCH,))
        value = loss(features[rows] @ weight.T + bias, targets[rows])  # type: ignore[operator]
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
    return weight.detach(), bias.detach()


def _directions(features: Tensor, clean: int) -> tuple[Tensor, Tensor]:
    """Principal directions of clean renders, scaled so that unseen renders are at a mean distance of 1 of the others."""
    basis = torch.linalg.svd(features[:clean], full_matrices=False).Vh[:DIRECTIONS]
    reduced = features[:clean] @ basis.T
    references, unseen = reduced[:REFERENCES], reduced[REFERENCES : REFERENCES + UNSEEN]
    unit = torch.cdist(unseen, references).amin(1).mean()
    return basis / unit, references / unit


def main() -> None:
    """Train and install the probe of every world, or of those whose sizes are named."""
    logging.basicConfig(level=logging.INFO)
    for world in [world for world in WORLDS if not sys.argv[1:] or str(world.size) in sys.argv[1:]]:
        probe = build_probe(world)
        tensors = {name: getattr(probe, name).half().contiguous() for name in Probe.__dataclass_fields__}
        with atomic_path(probe_path(world)) as temporary:
            save_file(tensors, str(temporary))
        log.info("%s", probe_path(world))


if __name__ == "__main__":
    main()
