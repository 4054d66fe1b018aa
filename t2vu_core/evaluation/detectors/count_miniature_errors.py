"""Counts the miniatures' detectors' errors on renders: `python -m t2vu_core.evaluation.detectors.count_miniature_errors`."""

from __future__ import annotations

import dataclasses
import json

import torch
from torch import Tensor

from t2vu_core.evaluation.detectors.base import Accuracy
from t2vu_core.evaluation.detectors.miniature import WorldDetector
from t2vu_core.evaluation.detectors.miniature_accuracy import accuracy_file
from t2vu_core.miniature.detector import Detection, MiniatureDetector, detector_path
from t2vu_core.miniature.world import render, sample_labels, shows
from t2vu_core.miniature.worlds import STYLES, WORLDS, World

RENDERS = 3000
SEED = 7_900_000


def count_errors(network: MiniatureDetector, *, renders: int = RENDERS, seed: int = SEED) -> dict[str, Accuracy]:
    """Errors for every concept, on renders of every content, unknown subjects and empty scenes among them."""
    generator, world = torch.Generator().manual_seed(seed), network.world
    labels = sample_labels(renders, generator, distractors=0.15, empty=0.05, world=world)
    detections = [network.judge(render(part, generator, world=world)) for part in labels.split(100)]
    return {concept: _count(world, labels, detections, concept) for concept in (*world.subjects, *STYLES[1:])}


def _count(world: World, labels: Tensor, detections: list[Detection], concept: str) -> Accuracy:
    kind = "shows" if concept in world.subjects else "has_style"
    found = torch.cat([getattr(detection, kind)(concept) for detection in detections])
    there = shows(labels, concept, world=world)
    return Accuracy(
        false_alarms=int((found & ~there).sum()),
        without=int((~there).sum()),
        misses=int((there & ~found).sum()),
        with_concept=int(there.sum()),
    )


def main() -> None:
    """Count the errors of every bundled detector and write a file for each."""
    for world in WORLDS:
        if not detector_path(world).is_file():
            continue
        detector = WorldDetector.bundled(world)
        errors = {concept: dataclasses.asdict(found) for concept, found in count_errors(detector.network).items()}
        content = {"detector": detector.name, "renders": RENDERS, "seed": SEED, "concepts": errors}
        accuracy_file(world).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
