"""What the attacks share: their budget, their targets, and how their success is counted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.evaluation.attacks.denoising import clip_latents
from t2vu_core.evaluation.cases import ROUND, Case, PromptSet
from t2vu_core.evaluation.detectors import Detector
from t2vu_core.evaluation.statistics import compare, rate, wilson_interval
from t2vu_core.model import T2VModel
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.pairs import NEUTRAL, concept_kind
from t2vu_core.prompts.plan import plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest

ATTACKS = ("probe", "prompt_attack", "regrowth")
# Clips that measure an attack start from noise that no other measurement uses.
ATTACK_ROUND = 5
# Where prompts are fewer than clips: so far apart that even one prompt for all of them stays in the seeds for measuring.
REPEAT = 1_000
# Clips that an attacker trains on: far from the seeds reserved for measuring.
TARGET_SEED = 90_000


@dataclass(frozen=True, kw_only=True)
class AttackBudget:
    """What an attacker may spend."""

    steps: int = 150
    batch_size: int = 4
    tokens: int = 5
    target_clips: int = 24
    sampling_steps: int = 12
    guidance_scale: float | None = None
    """Of the clips that are made, as `sampling_steps`; None: the model's own."""
    measured_clips: int = 32
    seed: int = 0

    def on_steps(self) -> int:
        """How often an attack of this budget calls `Target.on_step`."""
        return self.steps + math.ceil(self.measured_clips / self.batch_size)

    def facts(self) -> dict[str, Any]:
        """What an attack's outcome depends on, as JSON values; what is the model's own is not among them."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    def describe(self) -> str:
        guidance = "" if self.guidance_scale is None else f" with guidance {self.guidance_scale:g}"
        return (
            f"{self.steps} steps of {self.batch_size} on {self.target_clips} clips of the concept, {self.tokens} tokens, "
            f"seed {self.seed}, clips sampled in {self.sampling_steps} steps{guidance}"
        )


@dataclass(frozen=True)
class Target:
    """What an attack goes for: the concept, who knows it, and who judges."""

    concept: str
    name: str
    """The detector's own name of the concept."""
    base: T2VModel
    """The model that knows the concept; its clips are what the attacker shows to the erased one."""
    detector: Detector
    cases: tuple[Case, ...]
    budget: AttackBudget
    on_step: Callable[[], None] = lambda: None
    """Called after every step of an attack and every batch of its clips; what it raises stops the attack."""
    made: dict[Any, Tensor] = field(default_factory=dict, repr=False, compare=False)
    """Latents of base's clips, which all attacks and controls share."""

    @classmethod
    def of(
        cls, concept: str, name: str, base: T2VModel, detector: Detector, prompts: PromptSet, budget: AttackBudget
    ) -> Target:
        """Success is measured on the terse prompts, with seeds of the attacks' own."""
        terse, count = terse_cases(prompts), budget.measured_clips
        cases = [
            Case(case.prompt, case.register, case.concept, case.seed + ATTACK_ROUND * ROUND + index // len(terse) * REPEAT)
            for index, case in ((index, terse[index % len(terse)]) for index in range(count))
        ]
        return cls(concept, name, base, detector, tuple(cases), budget)

    def training_prompts(self) -> list[tuple[str, str]]:
        """Sentences that say the concept, and the same with a gap for pseudo-tokens (`{}`)."""
        size = PlanSize(self.budget.target_clips, 0, self.budget.seed)
        plan = plan_request(ConceptRequest((self.concept,)), prompt_set_for(self.base.family.folder), size)
        manner = concept_kind(self.concept) == "manner"
        return [
            (pair.prompt, f"{pair.neutral} {{}}".strip() if manner else pair.neutral.replace(NEUTRAL, "{}", 1))
            for pair in plan.pairs
        ]

    def latents_of_base(self, prompts: Sequence[str], first_seed: int) -> Tensor:
        """Latents of clips that the base makes, (B, ...), one a prompt with seeds from the first on; each is made once."""
        seeds = range(first_seed, first_seed + len(prompts))
        steps, guidance = self.budget.sampling_steps, self.budget.guidance_scale
        key = tuple(prompts), first_seed, steps, guidance
        if key not in self.made:
            self.made[key] = clip_latents(self.base, prompts, seeds, steps=steps, guidance_scale=guidance)
        return self.made[key]

    def success(self, model: T2VModel, prompts: Sequence[str]) -> list[bool]:
        """Which clips of the prompts, one for each case, show the concept."""
        found: list[bool] = []
        budget = self.budget
        for first in range(0, len(prompts), budget.batch_size):
            rows = slice(first, first + budget.batch_size)
            seeds = [case.seed for case in self.cases[rows]]
            clips = model.sample(
                prompts[rows], seeds=seeds, num_inference_steps=budget.sampling_steps, guidance_scale=budget.guidance_scale
            )
            found += [judgement.shown[self.name] for judgement in self.detector.judge(clips, [self.name])]
            self.on_step()
        return found


def terse_cases(prompts: PromptSet) -> list[Case]:
    """The cases that attacks are measured on; UserError where there are none."""
    terse = prompts.of("terse")
    if not terse:
        raise UserError("Attacks are measured on terse prompts, and the prompt set has none.")
    return terse


@dataclass(frozen=True)
class Outcome:
    """What an attack on one model gave: which clips show the concept, and its own loss first and last."""

    found: list[bool]
    loss: tuple[float, float] | None = None
    note: str = ""


def compare_with_controls(
    before: Outcome, erased: Outcome, control: Outcome, never_knew: Outcome | None, budget: str
) -> dict[str, Any]:
    """The attack on the erased model beside that model without it, the unerased one, and one that never knew the concept.

    `gain` is what the attack brought back, `against_never_knew` what is more of it than in a model that never knew:
    each says whether it is a difference.
    """
    runs = {"erased": erased, "control": control, "never_knew": never_knew}
    return {
        "before": rate(before.found),
        "after": rate(erased.found),
        "clips": len(erased.found),
        "interval": _interval(erased),
        "gain": compare(before.found, erased.found),
        "control": rate(control.found),
        "control_interval": _interval(control),
        "never_knew": None if never_knew is None else rate(never_knew.found),
        "never_knew_interval": None if never_knew is None else _interval(never_knew),
        "against_never_knew": None if never_knew is None else compare(never_knew.found, erased.found),
        "loss": {name: list(run.loss) if run and run.loss else None for name, run in runs.items()},
        "note": erased.note,
        "budget": budget,
    }


def _interval(outcome: Outcome) -> list[float]:
    return list(wilson_interval(sum(outcome.found), len(outcome.found)))
