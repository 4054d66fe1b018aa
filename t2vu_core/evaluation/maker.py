"""Who makes the clips: a model, sampled as the settings say, under one hash."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from t2vu_core.evaluation.cases import Case
from t2vu_core.evaluation.clip_store import clip_key, fingerprint
from t2vu_core.evaluation.settings import EvaluationSettings
from t2vu_core.model import SampleStep, T2VModel


@dataclass(frozen=True)
class Maker:
    """A model, and the hash of all that it computes with."""

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
        """Roughly how long so many clips take here."""
        steps = self.settings.num_inference_steps or self.model.family.defaults.num_inference_steps
        return self.seconds_a_step() * steps * clips / self.settings.batch_size

    def seconds_a_step(self) -> float:
        """How long one step of one batch takes here, from a few of them."""
        few, start = 2, time.monotonic()
        self.model.sample(["a"] * self.settings.batch_size, **{**self.settings.sampling(), "num_inference_steps": few})
        return (time.monotonic() - start) / few
