"""The attacks of an evaluation: each is run once a model and kept in the evaluation's folder, and says how long it takes."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2vu_core.erasure import atomic_path
from t2vu_core.evaluation.attacks import (
    ATTACKS,
    AttackBudget,
    Target,
    attack_once,
    budget_of,
    check_attacks,
    run_attacks,
)
from t2vu_core.evaluation.attacks.base import Outcome
from t2vu_core.evaluation.cases import PromptSet
from t2vu_core.evaluation.clip_store import clip_key
from t2vu_core.evaluation.detectors import Detector
from t2vu_core.evaluation.maker import Maker
from t2vu_core.evaluation.settings import EvaluationCallback, EvaluationProgress
from t2vu_core.model import T2VModel

# A step of an attack goes forward and back for one batch of prompts, a step of sampling twice forward (guidance).
STEP_IN_SAMPLING_STEPS = 1.5
NOTHING = "nothing"
NAMES = {NOTHING: "without an attack", **{name: name.replace("_", " ") for name in ATTACKS}}


@dataclass(frozen=True)
class Attacked:
    """What the attacks go for."""

    concept: str
    name: str
    detector: Detector
    prompts: PromptSet
    budget: AttackBudget


def attacked(
    names: Sequence[str],
    makers: Sequence[Maker],
    what: Attacked,
    out: Path | None,
    on_progress: EvaluationCallback | None,
) -> dict[str, Any]:
    """Results of the named attacks on the makers: before, after and, where there is one, who never knew the concept.

    What the folder `out` holds already, for the same model and budget, is not repeated: base's share serves every
    erasure that is measured there.
    """
    check_attacks(names)
    if not names:
        return dict.fromkeys(ATTACKS)
    before, after, *never = makers
    target = Target.of(what.concept, what.name, before.model, what.detector, what.prompts, what.budget)
    remembering = _Remembering(makers, what, out and out / "attacks", on_progress)
    never_knew = never[0].model if never else None
    return run_attacks(names, after.model, target, never_knew=never_knew, attack=remembering.attack)


def attack_seconds(name: str, budget: AttackBudget, seconds_a_step: float) -> float:
    """How long an attack on one model takes, from the time of a step of sampling one batch."""
    own = budget_of(name, budget)
    clips = own.measured_clips + (0 if name == NOTHING else own.target_clips)
    return seconds_a_step * (STEP_IN_SAMPLING_STEPS * own.steps + own.sampling_steps * clips / own.batch_size)


class _Remembering:
    """Runs attacks, keeps their outcomes, and tells how far they are."""

    def __init__(
        self,
        makers: Sequence[Maker],
        what: Attacked,
        folder: Path | None,
        on_progress: EvaluationCallback | None,
    ) -> None:
        self.makers, self.what, self.folder = makers, what, folder
        self.tell = on_progress or (lambda progress: None)
        self.seconds_a_step: float | None = None

    def attack(self, name: str, model: T2VModel, target: Target) -> Outcome:
        """As `attack_once`, unless it was done before."""
        place = next(index for index, maker in enumerate(self.makers) if maker.model is model)
        path = self.folder and self.folder / f"{self._key(name, self.makers[place])}.json"
        if path is not None and path.is_file():
            return Outcome(**json.loads(path.read_text(encoding="utf-8")))
        stage = f"{NAMES[name]}, {('unerased', 'erased', 'never knew')[place]}"
        outcome = attack_once(name, model, self._telling(name, stage, target))
        if path is not None:
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(dataclasses.asdict(outcome)), encoding="utf-8")
        return outcome

    def _telling(self, name: str, stage: str, target: Target) -> Target:
        """The target, with a voice: how long it will take, and then every step."""
        total, start, done = budget_of(name, self.what.budget).on_steps(), time.monotonic(), 0
        self.tell(EvaluationProgress(stage, 0, total, self._expected(name)))

        def on_step() -> None:
            nonlocal done
            done += 1
            self.tell(EvaluationProgress(stage, done, total, (time.monotonic() - start) / done * (total - done)))

        return dataclasses.replace(target, on_step=on_step)

    def _expected(self, name: str) -> float:
        """Seconds on one model, from a few steps of sampling."""
        if self.seconds_a_step is None:
            self.seconds_a_step = self.makers[0].seconds_a_step()
        return attack_seconds(name, self.what.budget, self.seconds_a_step)

    def _key(self, name: str, maker: Maker) -> str:
        what = self.what
        facts = {
            "base": self.makers[0].hash,
            "concept": [what.concept, what.name],
            "detector": what.detector.name,
            "prompts": what.prompts.sha256,
            "budget": budget_of(name, what.budget).facts(),
        }
        return clip_key(maker.hash, name, 0, facts)
