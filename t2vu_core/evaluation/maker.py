"""The models that make the clips of an evaluation, each with its hash and the sampling settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.evaluation.cases import Case
from t2vu_core.evaluation.ceiling import check_ceiling
from t2vu_core.evaluation.clip_store import clip_key, fingerprint, weights_hash
from t2vu_core.evaluation.settings import EvaluationSettings
from t2vu_core.model import SampleStep, T2VModel


@dataclass(frozen=True)
class Maker:
    """A model and the hash of everything that it computes with."""

    model: T2VModel
    hash: str
    settings: EvaluationSettings

    @classmethod
    def of(cls, model: T2VModel, weights: str, settings: EvaluationSettings) -> Maker:
        return cls(model, fingerprint(model, weights), settings)

    def key(self, case: Case) -> str:
        return clip_key(self.hash, case.prompt, case.seed, self.settings.sampling())

    def sample(self, cases: Sequence[Case], on_step: Callable[[SampleStep], None] | None = None) -> Tensor:
        """The clips of the cases, (B, F, 3, H, W) in [0, 1]."""
        prompts, seeds = [case.prompt for case in cases], [case.seed for case in cases]
        return self.model.sample(prompts, seeds=seeds, on_step=on_step, **self.settings.sampling())

    def estimate_seconds(self, clips: int) -> float:
        """Roughly how long that many clips take on this machine."""
        steps = self.settings.num_inference_steps or self.model.family.defaults.num_inference_steps
        return self.seconds_a_step() * steps * clips / self.settings.batch_size

    def seconds_a_step(self) -> float:
        """Seconds of one sampling step of one batch, measured over a few steps."""
        few, start = 2, time.monotonic()
        self.model.sample(["a"] * self.settings.batch_size, **{**self.settings.sampling(), "num_inference_steps": few})
        return (time.monotonic() - start) / few


@dataclass(frozen=True)
class Makers:
    """The models before and after erasing, and the one that never knew the concept if there is one."""

    before: Maker
    after: Maker
    never_knew: Maker | None = None

    @classmethod
    def of(cls, before: T2VModel, after: T2VModel, never_knew: T2VModel | None, settings: EvaluationSettings) -> Makers:
        """Raises UserError if the model that never knew the concept cannot be compared with the others."""
        weights = weights_hash(before.family)
        other = weights if after.family is before.family else weights_hash(after.family)
        pair = cls(Maker.of(before, weights, settings), Maker.of(after, other, settings))
        if never_knew is None:
            return pair
        check_ceiling(never_knew, before)
        control = Maker.of(never_knew, weights_hash(never_knew.family), settings)
        if control.hash in (pair.before.hash, pair.after.hash):
            raise UserError(f"The model that never knew the concept is {before.name} itself; name one trained without it.")
        return cls(pair.before, pair.after, control)

    def all(self) -> list[Maker]:
        """Every maker, in a fixed order."""
        return [maker for _, maker in self.titled()]

    def titled(self) -> list[tuple[str, Maker]]:
        """The same, each with what progress messages call it."""
        makers = [("unerased", self.before), ("erased", self.after)]
        return makers if self.never_knew is None else [*makers, ("never knew", self.never_knew)]
