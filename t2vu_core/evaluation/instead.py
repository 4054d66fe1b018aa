"""What stands in a clip instead of the concept: an empty scene, a subject that has a name, or debris.

The world's detector names subjects. A clip in which it names none is empty if it hardly differs from a render of an empty
scene, and debris otherwise. Where the second judge is installed, a named subject counts only if that judge sees it as
well; a clip with
names that it does not confirm is debris. The limits were chosen on renders, on ruined renders, and on 60 clips of the
unchanged model: of development concepts, where 35 of 36 are confirmed, of empty scenes, and of "something".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.evaluation.detectors import Detector, WorldDetector, counted
from t2vu_core.evaluation.second_judge.detector import SecondJudge
from t2vu_core.evaluation.second_judge.features import clip_features
from t2vu_core.evaluation.second_judge.probe import Probe, load_probe, probe_path
from t2vu_core.evaluation.second_judge.weights import is_installed
from t2vu_core.miniature.detector import THRESHOLD, MiniatureDetector
from t2vu_core.miniature.world import render
from t2vu_core.miniature.worlds import NOBODY, World

EMPTY_BELOW = 0.14
"""Largest difference of a patch from an empty scene up to which a clip without a named subject is empty."""
CONFIRMED = 0.5
"""The second judge's probability above which it sees a subject that the detector names."""
PATCH = 5
"""Side of a patch in pixels of the world of 32."""
Kind = Literal["empty", "subject", "debris"]


@dataclass(frozen=True)
class Standing:
    """What one clip shows."""

    kind: Kind
    subjects: tuple[str, ...] = ()
    """Those that the detector names and, where it is installed, the second judge confirms."""
    distance: float | None = None
    """From the nearest renders; None without the second judge."""

    @property
    def natural(self) -> bool:
        """Whether a person would know what it shows."""
        return self.kind != "debris"


@dataclass(frozen=True)
class Observer:
    """Says what stands in clips of a world."""

    network: MiniatureDetector
    probe: Probe | None

    @classmethod
    def of(cls, detector: Detector) -> Observer | None:
        """For the world of a detector; None for a detector of other words."""
        judge = counted(detector)
        if isinstance(judge, SecondJudge):
            judge = WorldDetector.bundled(judge.world)
        if not isinstance(judge, WorldDetector):
            return None
        known = is_installed() and probe_path(judge.world).is_file()
        return cls(judge.network, load_probe(judge.world) if known else None)

    @torch.no_grad()
    def look(self, clips_BFCHW: Tensor) -> list[Standing]:
        """What clips in [0, 1] show."""
        detector = WorldDetector(self.network)
        fitted = detector.fitted(clips_BFCHW)
        found = self.network.judge(fitted * 2 - 1).subjects > THRESHOLD
        residues = residue(fitted, detector.world).tolist()
        if self.probe is None:
            return [self._standing(*row) for row in zip(found, residues, strict=True)]
        features = clip_features(fitted)[0]
        seconds, distances = self.probe.subjects(features).mean(1) > CONFIRMED, self.probe.distances(features).tolist()
        return [self._standing(*row) for row in zip(found, residues, seconds, distances, strict=True)]

    def _standing(
        self, found_S: Tensor, difference: float, second_S: Tensor | None = None, distance: float | None = None
    ) -> Standing:
        names = self.network.world.subjects
        if not found_S.any():
            return Standing("empty" if difference < EMPTY_BELOW else "debris", (), distance)
        seen = found_S if second_S is None else found_S & second_S
        subjects = tuple(name for name, there in zip(names, seen, strict=True) if there)
        return Standing("subject" if subjects else "debris", subjects, distance)


def residue(clips_BFCHW: Tensor, world: World) -> Tensor:
    """How much the clips in [0, 1] differ from the empty scene that is nearest, in the patch where they differ most: (B,)."""
    empties, side = _empty_scenes(world), PATCH * world.size // 32
    found = []
    for clip in clips_BFCHW:
        difference = clip[None] - empties[:, None]
        # Scenes vary in tint, which is no difference of content.
        difference = difference - difference.mean((1, 3, 4), keepdim=True).clamp(-0.05, 0.05)
        patches = F.avg_pool2d(difference.abs().mean(2), side, stride=1)
        found.append(patches.amax((2, 3)).mean(1).min())
    return torch.stack(found)


@cache
def _empty_scenes(world: World) -> Tensor:
    """Every style and background without a subject, (n, 3, h, w) in [0, 1]."""
    rows = [
        [NOBODY, NOBODY, style, 0, background]
        for style in range(len(world.styles))
        for background in range(len(world.backgrounds))
    ]
    clips = render(torch.tensor(rows), torch.Generator().manual_seed(0), world=world)
    return clips[:, 0] / 2 + 0.5


def subjects_of(standings: Sequence[Standing]) -> dict[str, float]:
    """The share of clips that naturally show each subject, the commonest first."""
    named = [name for each in standings if each.natural for name in each.subjects]
    return {
        name: named.count(name) / len(standings) for name in sorted(set(named), key=lambda name: (-named.count(name), name))
    }
