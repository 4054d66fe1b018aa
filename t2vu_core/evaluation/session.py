"""A running evaluation: the clips of every case are made and judged, and everything finished is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from t2vu_core.evaluation.attacks import AttackBudget, AttackTask, attack_seconds
from t2vu_core.evaluation.attacks.run import NOTHING
from t2vu_core.evaluation.attacks.store import attack_makers
from t2vu_core.evaluation.cases import KEPT, Case, PromptSet
from t2vu_core.evaluation.clip_store import ClipStore, generate
from t2vu_core.evaluation.detectors import Detector
from t2vu_core.evaluation.instead import Observer, Standing
from t2vu_core.evaluation.judgements import JudgementStore
from t2vu_core.evaluation.maker import Maker, Makers
from t2vu_core.evaluation.measures import l1_distance, ssim
from t2vu_core.evaluation.records import Record, look
from t2vu_core.evaluation.settings import EvaluationCallback, EvaluationProgress, EvaluationSettings
from t2vu_core.model import SampleStep, T2VModel
from t2vu_core.scores import AttackScores


@dataclass(frozen=True)
class Session:
    """What an evaluation holds while it runs."""

    concept: str
    """As the user calls it."""
    name: str
    """As the detector calls it."""
    detector: Detector
    settings: EvaluationSettings
    prompts: PromptSet
    makers: Makers
    clips: ClipStore
    judgements: JudgementStore
    out: Path | None
    tell: EvaluationCallback
    observer: Observer | None = None
    """Says what stands there instead of the concept; None for clips of no known world."""

    def chosen(self) -> PromptSet:
        """The prompts that are measured."""
        return self.prompts.first(self.settings.per_register, self.settings.kept, self.settings.rounds)

    def check(self) -> None:
        """Raises UserError if the detector cannot judge a prompt, or if there is no space for the clips."""
        chosen, makers = self.chosen(), self.makers.all()
        self.judgements.check(chosen.cases)
        missing = {maker.key(case) for maker in makers for case in chosen.cases if maker.key(case) not in self.clips}
        size = makers[0].model.clip_size()
        self.clips.check_space(len(missing), size.num_frames * size.height * size.width * 3)

    def records(self, before: Maker, after: Maker, stage: str, seconds_in_all: float | None = None) -> list[Record]:
        """One record per case, from the clips of two models."""
        return list(self._records((before, after), stage, seconds_in_all))

    def _records(self, makers: tuple[Maker, Maker], stage: str, seconds_in_all: float | None) -> Iterator[Record]:
        all_cases = self.chosen().cases
        total, done, start = 2 * len(all_cases), 0, time.monotonic()
        left = self._clip_seconds(makers) if self.settings.preset == "full" else None
        self.tell(EvaluationProgress(stage, 0, total, left, seconds_in_all))
        for first in range(0, len(all_cases), self.settings.batch_size):
            cases = all_cases[first : first + self.settings.batch_size]
            looks, clips = [], []
            for maker in makers:
                keys = [maker.key(case) for case in cases]
                # Reporting at every step lets a callback that raises stop the work at once.
                on_step = partial(_repeat, self.tell, EvaluationProgress(stage, done, total))
                clips.append(generate(self.clips, keys, partial(maker.sample, cases, on_step)))
                judgements = self.judgements.judge(keys, clips[-1], cases)
                looks.append(look(clips[-1], judgements, self._standings(clips[-1], cases)))
                done += len(cases)
                left = (time.monotonic() - start) / done * (total - done)
                self.tell(EvaluationProgress(stage, done, total, left))
            likeness, distance = ssim(*clips).tolist(), l1_distance(*clips).tolist()
            for row, case in enumerate(cases):
                keys = [maker.key(case) for maker in makers]
                yield Record(case, self._judged(case), looks[0][row], looks[1][row], likeness[row], distance[row], *keys)

    def _standings(self, clips: Tensor, cases: Sequence[Case]) -> list[Standing | None]:
        """What stands in the clips that are asked to show the concept."""
        rows = [row for row, case in enumerate(cases) if case.register != KEPT]
        found: list[Standing | None] = [None] * len(cases)
        if self.observer is not None and rows:
            for row, standing in zip(rows, self.observer.look(clips[rows]), strict=True):
                found[row] = standing
        return found

    def _judged(self, case: Case) -> str:
        """The detector's own name of what the case asks for; empty if it cannot judge that."""
        return self.judgements.names[case.concept] or ""

    def attack(self, names: Sequence[str]) -> dict[str, AttackScores | None]:
        """Run the named attacks; outcomes that are kept already are not repeated."""
        task = AttackTask(self.concept, self.name, self.detector, self.prompts, self._budget())
        return attack_makers(names, self.makers, task, self.out and self.out / "attacks", self.tell)

    def seconds_in_all(self, attacks: Sequence[str]) -> float:
        """An upper estimate for clips and attacks together; attacks that are kept already count too."""
        makers = self.makers.all()
        seconds = self._clip_seconds(makers)
        if not attacks:
            return seconds
        budget, a_step = self._budget(), makers[0].seconds_a_step()
        attacking = sum(attack_seconds(name, budget, a_step) for name in attacks) * len(makers)
        return seconds + attacking + attack_seconds(NOTHING, budget, a_step)

    def _clip_seconds(self, makers: Sequence[Maker]) -> float:
        """Estimated seconds of the clips that are still missing."""
        cases = self.chosen().cases
        missing = [sum(maker.key(case) not in self.clips for case in cases) for maker in makers]
        return sum(maker.estimate_seconds(count) for maker, count in zip(makers, missing, strict=True) if count)

    def _budget(self) -> AttackBudget:
        return attack_budget(self.settings, self.makers.before.model)


CURVE = (150, 300)
"""Steps after which PROBE from several starts is measured as well; 150 is the cheap form."""


def attack_budget(settings: EvaluationSettings, model: T2VModel) -> AttackBudget:
    """The budget of the attacks of an evaluation; their clips are sampled like all others."""
    return AttackBudget(
        steps=settings.attack_steps,
        probe_steps=settings.probe_steps,
        starts=settings.probe_starts,
        curve=CURVE if settings.probe_starts > 1 else (),
        sampling_steps=settings.num_inference_steps or model.family.defaults.num_inference_steps,
        guidance_scale=settings.guidance_scale,
        measured_clips=settings.attack_clips,
    )


def _repeat(tell: EvaluationCallback, progress: EvaluationProgress, step: SampleStep) -> None:
    tell(progress)
