"""Counts the second judge's errors on renders that its probes have not seen.

`python -m t2vu_core.evaluation.second_judge.count_errors`: about 45 s of processor time for each world that has probes.
"""

from __future__ import annotations

import dataclasses
import json

import torch

from t2vu_core.erasure import atomic_path
from t2vu_core.evaluation.detectors.base import Accuracy
from t2vu_core.evaluation.second_judge.accuracy import ACCURACY_FILE
from t2vu_core.evaluation.second_judge.detector import SecondJudge
from t2vu_core.evaluation.second_judge.probe import probe_path
from t2vu_core.miniature.world import render, sample_labels, shows
from t2vu_core.miniature.worlds import WORLDS

RENDERS = 1000
SEED = 7_920_000


def count_errors(judge: SecondJudge, *, renders: int = RENDERS, seed: int = SEED) -> dict[str, Accuracy]:
    """Errors for every concept, on renders of every content, unknown subjects and empty scenes among them."""
    generator, world = torch.Generator().manual_seed(seed), judge.world
    labels = sample_labels(renders, generator, distractors=0.15, empty=0.05, world=world)
    found = [
        judgement.shown
        for part in labels.split(100)
        for judgement in judge.judge(render(part, generator, world=world) / 2 + 0.5, judge.known())
    ]
    counts = {}
    for concept in judge.known():
        there = shows(labels, concept, world=world)
        said = torch.tensor([shown[concept] for shown in found])
        counts[concept] = Accuracy(
            int((said & ~there).sum()), int((~there).sum()), int((there & ~said).sum()), int(there.sum())
        )
    return counts


def main() -> None:
    """Count the errors of every probe and write the file."""
    judges = [SecondJudge.of(world) for world in WORLDS if probe_path(world).is_file()]
    content = {
        judge.name: {concept: dataclasses.asdict(found) for concept, found in count_errors(judge).items()} for judge in judges
    }
    with atomic_path(ACCURACY_FILE) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
