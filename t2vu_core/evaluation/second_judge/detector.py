"""The second judge as a detector of a miniature's subjects and styles, alone or next to another detector."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from t2vu_core.evaluation.detectors.base import Accuracy, Detector, Judgement
from t2vu_core.evaluation.detectors.miniature import WorldDetector, names_of, world_of_model
from t2vu_core.evaluation.detectors.sampled_frames import spread
from t2vu_core.evaluation.second_judge.accuracy import stored_accuracy
from t2vu_core.evaluation.second_judge.features import clip_features
from t2vu_core.evaluation.second_judge.probe import Probe, load_probe
from t2vu_core.evaluation.second_judge.weights import load_network
from t2vu_core.miniature.detector import THRESHOLD
from t2vu_core.miniature.worlds import STYLES, WORLD_32, World
from t2vu_core.model import T2VModel


class SecondJudge:
    """A network trained on photographs, and a linear probe on renders of the world. It looks at three frames of a clip."""

    clean_prompts = None

    def __init__(self, world: World, probe: Probe) -> None:
        self.world, self.probe = world, probe
        self.name = f"second judge {probe.name}"

    @classmethod
    def of(cls, world: World = WORLD_32) -> SecondJudge:
        """The judge of a world. Raises UserError, with what to do, if its network is not installed."""
        load_network()
        return cls(world, load_probe(world))

    @classmethod
    def for_model(cls, model: T2VModel | None) -> SecondJudge:
        """The judge of the world that a model draws; that of 32 pixels for no model."""
        return cls.of(WORLD_32 if model is None else world_of_model(model))

    def known(self) -> tuple[str, ...]:
        return (*self.world.subjects, *STYLES[1:])

    def resolve(self, concept: str) -> str | None:
        return names_of(self.world).get(" ".join(concept.lower().split()))

    def accuracy(self, concept: str) -> Accuracy | None:
        """The stored errors, counted on renders; None for another probe."""
        return stored_accuracy(self.name, concept)

    def judge(self, clips: Tensor, concepts: Sequence[str]) -> list[Judgement]:
        """A clip shows a subject if the mean over its frames passes the threshold, and has the style that is likeliest."""
        features, nearest = clip_features(clips)
        subjects, styles = self.probe.subjects(features), self.probe.styles(features)
        return [self._judgement(*row, nearest, concepts) for row in zip(subjects, styles, strict=True)]

    def _judgement(self, subjects_FS: Tensor, styles_FS: Tensor, nearest: Sequence[int], concepts: Sequence[str]) -> Judgement:
        style, by_frame = int(styles_FS.mean(0).argmax()), styles_FS.argmax(1)
        shown, frames = {}, {}
        for concept in concepts:
            if concept in self.world.subjects:
                found = subjects_FS[:, self.world.subjects.index(concept)]
                shown[concept] = bool(found.mean() > THRESHOLD)
                frames[concept] = spread((found > THRESHOLD).tolist(), nearest)
            else:
                index = STYLES.index(concept)
                shown[concept] = style == index
                frames[concept] = spread((by_frame == index).tolist(), nearest)
        mean = subjects_FS.mean(0)
        return Judgement(shown, frames, float(mean.maximum(1 - mean).min()), {"style": STYLES[style]})


class TwoJudges:
    """A detector whose answers count, and a second one whose answers are kept next to them."""

    def __init__(self, first: Detector, second: Detector) -> None:
        self.first, self.second = first, second
        self.name = f"{first.name} and {second.name}"

    @classmethod
    def for_model(cls, model: T2VModel | None) -> TwoJudges:
        """The miniatures' own detector, and the second judge."""
        return cls(WorldDetector.for_model(model), SecondJudge.for_model(model))

    @property
    def clean_prompts(self) -> str | None:
        return self.first.clean_prompts

    def known(self) -> tuple[str, ...]:
        return self.first.known()

    def resolve(self, concept: str) -> str | None:
        return self.first.resolve(concept)

    def accuracy(self, concept: str) -> Accuracy | None:
        """The first judge's."""
        return self.first.accuracy(concept)

    def judge(self, clips: Tensor, concepts: Sequence[str]) -> list[Judgement]:
        """The first judge's judgements, with what the second one finds shown."""
        both = zip(self.first.judge(clips, concepts), self.second.judge(clips, concepts), strict=True)
        return [dataclasses.replace(first, second=second.shown) for first, second in both]
