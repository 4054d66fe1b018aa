"""Counts the miniature detector's errors on renders: `python -m t2vu_core.evaluation.detectors.count_miniature_errors`."""

from __future__ import annotations

import dataclasses
import json

import torch
from torch import Tensor

from t2vu_core.evaluation.detectors.base import Accuracy
from t2vu_core.evaluation.detectors.miniature import WorldDetector
from t2vu_core.evaluation.detectors.miniature_accuracy import FILE
from t2vu_core.miniature.detector import Detection, MiniatureDetector
from t2vu_core.miniature.world import STYLES, SUBJECTS, render, sample_labels, shows

RENDERS = 3000
SEED = 7_900_000


def count_errors(network: MiniatureDetector, *, renders: int = RENDERS, seed: int = SEED) -> dict[str, Accuracy]:
    """Errors for every concept, on renders of all contents, including unknown subjects and empty scenes."""
    generator = torch.Generator().manual_seed(seed)
    labels = sample_labels(renders, generator, distractors=0.15, empty=0.05)
    detections = [network.judge(render(part, generator)) for part in labels.split(100)]
    return {concept: _count(labels, detections, concept) for concept in (*SUBJECTS, *STYLES[1:])}


def _count(labels: Tensor, detections: list[Detection], concept: str) -> Accuracy:
    kind = "shows" if concept in SUBJECTS else "has_style"
    found = torch.cat([getattr(detection, kind)(concept) for detection in detections])
    there = shows(labels, concept)
    return Accuracy(
        false_alarms=int((found & ~there).sum()),
        without=int((~there).sum()),
        misses=int((there & ~found).sum()),
        with_concept=int(there.sum()),
    )


def main() -> None:
    """Count the bundled detector's errors and write the file."""
    detector = WorldDetector.bundled()
    errors = {concept: dataclasses.asdict(found) for concept, found in count_errors(detector.network).items()}
    content = {"detector": detector.name, "renders": RENDERS, "seed": SEED, "concepts": errors}
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
