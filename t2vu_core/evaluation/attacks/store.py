"""The attacks of an evaluation: each runs once per model, is kept in the evaluation's folder, and reports its progress."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

from t2vu_core.erasure import atomic_path
from t2vu_core.evaluation.attacks.base import ATTACKS, AttackTask, Outcome, Target
from t2vu_core.evaluation.attacks.run import NOTHING, attack_once, attack_seconds, budget_of, check_attacks, run_attacks
from t2vu_core.evaluation.clip_store import clip_key
from t2vu_core.evaluation.maker import Maker, Makers
from t2vu_core.evaluation.settings import EvaluationCallback, EvaluationProgress
from t2vu_core.model import T2VModel
from t2vu_core.scores import AttackScores
from t2vu_core.training.checkpoint import fingerprint_of

TITLES = {NOTHING: "without an attack", **{name: name.replace("_", " ") for name in ATTACKS}}


def attack_makers(
    names: Sequence[str], makers: Makers, task: AttackTask, folder: Path | None, tell: EvaluationCallback
) -> dict[str, AttackScores | None]:
    """Run the named attacks on the model after erasing and on the controls.

    Outcomes in the folder for the same model and budget are not repeated; those of the base model serve every erasure.
    """
    check_attacks(names)
    if not names:
        return dict.fromkeys(ATTACKS)
    store = AttackStore(makers, task, folder, tell)
    never_knew = None if makers.never_knew is None else makers.never_knew.model
    return run_attacks(names, makers.after.model, task.target(makers.before.model), never_knew=never_knew, attack=store.attack)


class AttackStore:
    """Runs attacks, keeps their outcomes as JSON files, and reports progress."""

    def __init__(self, makers: Makers, task: AttackTask, folder: Path | None, tell: EvaluationCallback) -> None:
        self.makers, self.task, self.folder, self.tell = makers, task, folder, tell
        self.seconds_a_step: float | None = None

    def attack(self, name: str, model: T2VModel, target: Target) -> Outcome:
        """The kept outcome, or that of `attack_once`."""
        title, maker = next((title, maker) for title, maker in self.makers.titled() if maker.model is model)
        path = self.folder and self.folder / f"{self._key(name, maker, target)}.json"
        if path is not None and path.is_file():
            return Outcome(**json.loads(path.read_text(encoding="utf-8")))
        outcome = attack_once(name, model, self._with_progress(name, f"{TITLES[name]}, {title}", target))
        if path is not None:
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(dataclasses.asdict(outcome)), encoding="utf-8")
        return outcome

    def _with_progress(self, name: str, stage: str, target: Target) -> Target:
        """The target with a callback that reports every step; the expected duration is reported first."""
        total, start, done = budget_of(name, self.task.budget).on_steps(), time.monotonic(), 0
        self.tell(EvaluationProgress(stage, 0, total, self._expected(name)))

        def on_step() -> None:
            nonlocal done
            done += 1
            self.tell(EvaluationProgress(stage, done, total, (time.monotonic() - start) / done * (total - done)))

        return dataclasses.replace(target, on_step=on_step)

    def _expected(self, name: str) -> float:
        """Seconds on one model, estimated from a few sampling steps."""
        if self.seconds_a_step is None:
            self.seconds_a_step = self.makers.before.seconds_a_step()
        return attack_seconds(name, self.task.budget, self.seconds_a_step)

    def _key(self, name: str, maker: Maker, target: Target) -> str:
        task = self.task
        facts = {
            "base": self.makers.before.hash,
            "concept": [task.concept, task.name],
            "detector": task.detector.name,
            "prompts": task.prompts.sha256,
            "budget": budget_of(name, task.budget).facts(),
            "asked": fingerprint_of(target.training_prompts(), target.neutral_pairs()),
        }
        return clip_key(maker.hash, name, 0, facts)
