"""The neutral check: what the frozen model draws where the concept will be gone, looked at before anything is trained.

A few short clips of the plan's neutral prompts are made and judged. Where they show the concept itself, or nothing that a
person would name, the next replacement of the plan is tried: an erasure can be no better than what it steers towards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.evaluation.detectors import Detector, WorldDetector
from t2vu_core.evaluation.instead import Observer
from t2vu_core.evaluation.neutral_source import AnyRecipe, NeutralSource, Preview
from t2vu_core.families.spelling import check_visible
from t2vu_core.mentions import bare, says
from t2vu_core.model import T2VModel
from t2vu_core.prompts.concept import Concept, understand
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.training.few_shot.shot_models import AnyImageModel
from t2vu_core.training.progress import ProgressCallback, TrainProgress

CLIPS = 4
FIRST_SEED = 499_000
"""Counted from the run's first seed; a training run and an evaluation use others."""


@dataclass(frozen=True)
class Candidate:
    """What one replacement looks like."""

    replacement: str
    """In words; empty if nothing stands in the concept's place."""
    prompts: tuple[str, ...]
    clips: Tensor
    """(B, F, 3, H, W) in [0, 1]."""
    shows_concept: int | None
    """Number of clips that show the concept; None without a detector."""
    incoherent: int | None
    """Number of clips that show nothing a person would name; None where that cannot be judged."""

    @property
    def drawable(self) -> bool | None:
        """Whether at least half of the clips are right; None if nothing judged them."""
        if self.shows_concept is None:
            return None
        return max(self.shows_concept, self.incoherent or 0) <= len(self.prompts) / 2

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "replacement": self.replacement, "prompts": list(self.prompts), "shows_concept": self.shows_concept,
            "incoherent": self.incoherent, "drawable": self.drawable,
        }  # fmt: skip


@dataclass(frozen=True)
class NeutralCheck:
    """The replacements that were tried, in order, and the request with the one that is taken."""

    request: ConceptRequest
    concept: str
    tried: tuple[Candidate, ...]
    taken: Candidate
    given: bool
    """Whether the user named the replacement: then it stays, whatever it looks like."""

    @property
    def better(self) -> Candidate | None:
        """A drawable replacement other than the one that is taken, if that one is not drawable."""
        if self.taken.drawable is not False:
            return None
        return next((each for each in self.tried if each.drawable), None)

    @property
    def message(self) -> str:
        """What was found and what follows, in one or two sentences."""
        taken = _named(self.taken)
        if self.taken.drawable is None:
            return f"Look at the clips of the neutral prompts: they show {taken}. No detector judged them."
        if self.taken.drawable:
            first = (
                ""
                if self.taken is self.tried[0]
                else f"{_fault(self.tried[0], self.concept)} The plan's next choice is taken. "
            )
            unjudged = " Whether they are coherent was not judged: look at them." if self.taken.incoherent is None else ""
            return f"{first}The model draws {taken} without {self.concept!r}.{unjudged}"
        advice = f"{_named(self.better)} is better: name it" if self.better else "Name something that the model draws well"
        return f"{_fault(self.taken, self.concept)} {advice} with --instead (the node's input instead)."

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "taken": self.taken.replacement,
            "drawable": self.taken.drawable,
            "better": self.better and self.better.replacement,
            "tried": [each.describe() for each in self.tried],
            "message": self.message,
        }

    def noted_in(self, erasure: Erasure) -> Erasure:
        """The erasure whose description says what was found."""
        return dataclasses.replace(erasure, prompts={**erasure.prompts, "neutral_check": self.describe()})

    def sheet(self) -> Tensor:
        """First, middle and last frame of the clips of the replacement that is taken, one clip a row: (3, H, W) in [0, 1]."""
        clips = self.taken.clips
        frames = sorted({0, clips.shape[1] // 2, clips.shape[1] - 1})
        return torch.cat([torch.cat(list(clip[frames]), -1) for clip in clips], -2)


def check_neutral(
    model: T2VModel | AnyImageModel,
    request: ConceptRequest,
    recipe: AnyRecipe,
    *,
    through: AnyImageModel | None = None,
    detector: Detector | None = None,
    on_progress: ProgressCallback | None = None,
) -> NeutralCheck:
    """Try the plan's replacements until one can be drawn.

    An image model is for a text encoder that is trained without a video model; its clips have one frame. So have those of a
    recipe that computes single frames, except for the miniatures' own detector, which knows whole clips. `through` is the
    image model that a video model's text encoder is trained through: its images have the recipe's size. `detector` is by
    default that one for a bundled model that knows the concept, and none for other models. With several concepts, or a
    replacement that the user gave, nothing else is taken. Raises UserError before the first clip for what a training run
    refuses; an exception from `on_progress` stops the check.
    """
    source = NeutralSource(model, recipe, through)
    source.check()
    check_visible(source.text.tokenizer, request.concepts)
    concepts = understand(request, prompt_set_for(source.folder))
    detector = detector or own_detector(model, [concept.title for concept in concepts])
    judge = _Judge.of(detector, concepts)
    choices = concepts[0].replacements if len(concepts) == 1 else concepts[0].replacements[:1]
    asked = [request, *(dataclasses.replace(request, replacement=words) for words in choices[1:] if words)]
    tried: list[Candidate] = []
    for number, each in enumerate(asked):
        tried.append(_look(source, each, judge, partial(_tell, on_progress, number)))
        if tried[-1].drawable is not False:
            break
    good = next((index for index, each in enumerate(tried) if each.drawable is not False), 0)
    chosen = 0 if request.replacement is not None else good
    return NeutralCheck(asked[chosen], request.title, tuple(tried), tried[chosen], request.replacement is not None)


def own_detector(model: T2VModel | AnyImageModel, concepts: Sequence[str]) -> Detector | None:
    """The detector of a bundled video model's world, if it knows the concepts."""
    if not isinstance(model, T2VModel) or not prompt_set_for(model.family.folder).own:
        return None
    try:
        detector = WorldDetector.for_model(model)
    except UserError:
        return None
    return detector if all(map(detector.resolve, concepts)) else None


@dataclass(frozen=True)
class _Judge:
    """A detector with its own names of the concepts; without a detector nothing is judged."""

    detector: Detector | None
    names: tuple[str, ...]
    observer: Observer | None

    @classmethod
    def of(cls, detector: Detector | None, concepts: Sequence[Concept]) -> _Judge:
        if detector is None:
            return cls(None, (), None)
        names = [(concept.title, detector.resolve(concept.title)) for concept in concepts]
        unknown = next((title for title, name in names if name is None), None)
        if unknown is not None:
            raise UserError(f"The detector ({detector.name}) does not know the concept {unknown!r}; name another one.")
        return cls(detector, tuple(name for _, name in names if name), Observer.of(detector))

    def shows_concept(self, clips: Tensor) -> int | None:
        if self.detector is None:
            return None
        return sum(any(each.shown[name] for name in self.names) for each in self.detector.judge(clips, self.names))

    def incoherent(self, clips: Tensor) -> int | None:
        return None if self.observer is None else sum(not each.natural for each in self.observer.look(clips))


def _look(
    source: NeutralSource, request: ConceptRequest, judge: _Judge, tell: Callable[[int, int, int, Preview | None], None]
) -> Candidate:
    neutral, words = source.plan(request)
    prompts = _neutral_prompts(neutral, words)
    first = 1_000_000 * (source.recipe.seed + 1) + FIRST_SEED
    whole = isinstance(judge.detector, WorldDetector)
    clips = [source.clip(prompt, first + index, partial(tell, index), whole=whole) for index, prompt in enumerate(prompts)]
    made = torch.cat(clips)
    return Candidate(words, tuple(prompts), made, judge.shows_concept(made), judge.incoherent(made))


def _neutral_prompts(neutral: Sequence[str], words: str) -> list[str]:
    """A few of the neutral prompts, spread over the plan; those that say the replacement first."""
    different = list(dict.fromkeys(text for text in neutral if text.strip())) or [""]
    saying = [text for text in different if words and says(text, [bare(words)])]
    pool = saying if len(saying) >= CLIPS else different
    return [pool[index * len(pool) // min(CLIPS, len(pool))] for index in range(min(CLIPS, len(pool)))]


def _tell(on_progress: ProgressCallback | None, number: int, clip: int, step: int, total: int, preview: Preview | None) -> None:
    if on_progress is not None:
        done = clip * total + step
        note = f"replacement {number + 1}" if number else ""
        on_progress(TrainProgress("neutral check", done, CLIPS * total, preview=preview, note=note))


def _named(candidate: Candidate | None) -> str:
    assert candidate is not None
    return repr(candidate.replacement) if candidate.replacement else "the scene without it"


def _fault(candidate: Candidate, concept: str) -> str:
    count, shown, odd = len(candidate.prompts), candidate.shows_concept or 0, candidate.incoherent or 0
    what = f"show {concept!r} itself" if shown >= odd else "show nothing that a person would name"
    return f"With {_named(candidate)} in its place, {max(shown, odd)} of {count} clips of the unchanged model {what}."
