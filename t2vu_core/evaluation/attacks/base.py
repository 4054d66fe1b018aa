"""The parts that all attacks share: budget, target, outcome, and the comparison with the controls."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
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
from t2vu_core.prompts.neutral import with_gap, without_concepts
from t2vu_core.prompts.plan import PromptPlan, plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.scores import AttackPart, AttackScores, Interval

ATTACKS = (
    "probe", "prompt_attack", "regrowth", "clip_start",
    "other_sampler", "other_steps", "other_guidance", "other_size", "other_length",
)  # fmt: skip
ATTACK_ROUND = 5
"""Round of the seeds of clips that measure an attack: noise that no other measurement uses."""
REPEAT = 1_000
"""Distance of the seeds of a prompt that is used again; even with a single prompt they stay in MEASURING_SEEDS."""
TARGET_SEED = 90_000
"""First seed of the clips that an attacker trains on; far from MEASURING_SEEDS."""


@dataclass(frozen=True, kw_only=True)
class AttackBudget:
    """What an attacker may spend."""

    steps: int = 150
    batch_size: int = 4
    tokens: int = 5
    target_clips: int = 24
    sampling_steps: int = 12
    guidance_scale: float | None = None
    """Of sampled clips; None: the model's default."""
    measured_clips: int = 32
    seed: int = 0
    probe_steps: int | None = None
    """Of PROBE; None: `steps`."""
    starts: int = 1
    """PROBE: how many starts it tries, of which the best counts; see `probe_stops.STARTS`."""
    curve: tuple[int, ...] = ()
    """PROBE: steps after which the clips are also measured; the best of these and the last count."""

    def on_steps(self) -> int:
        """How often an attack with this budget calls `Target.on_step`."""
        measured = 1 + sum(step < self.steps for step in self.curve)
        return self.starts * (self.steps + measured * math.ceil(self.measured_clips / self.batch_size))

    def facts(self) -> dict[str, Any]:
        """The settings that an attack's outcome depends on, as JSON values; defaults of the model are left out.

        So are the number of starts and the curve where they are the usual ones, because files are named after these facts.
        "counted" tells outcomes with a curve from those of evaluation version 1, which counted the last step.
        """
        usual = {"starts": 1, "curve": (), "guidance_scale": None, "probe_steps": None}
        facts = {name: value for name, value in dataclasses.asdict(self).items() if usual.get(name, ...) != value}
        facts |= {"counted": "best stop"} if self.curve else {}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}

    def describe(self) -> str:
        guidance = "" if self.guidance_scale is None else f" with guidance {self.guidance_scale:g}"
        training = f"{self.steps} steps of {self.batch_size} on {self.target_clips} clips of the concept, {self.tokens} tokens"
        training += "" if self.starts == 1 else f", the best of {self.starts} starts"
        training += f"{'' if self.starts > 1 else ', the best'} at any recorded step" if self.curve else ""
        return (
            f"{training if self.steps else 'no training'}, seed {self.seed}, "
            f"clips sampled in {self.sampling_steps} steps{guidance}"
        )


@dataclass(frozen=True)
class Target:
    """The target of an attack: the concept, a model that knows it, and the detector."""

    concept: str
    name: str
    """The detector's own name of the concept."""
    base: T2VModel
    """The model before erasing; the attacker trains on its clips."""
    detector: Detector
    cases: tuple[Case, ...]
    budget: AttackBudget
    on_step: Callable[[], None] = lambda: None
    """Called after every step of an attack and every batch of its clips; an exception stops the attack."""
    made: dict[Any, Tensor] = field(default_factory=dict, repr=False, compare=False)
    """Latents of the base model's clips, shared by all attacks and controls."""

    def plan(self) -> PromptPlan:
        """The prompts with the concept that the attacker trains on, and the same without it."""
        size = PlanSize(self.budget.target_clips, 0, self.budget.seed)
        return plan_request(ConceptRequest((self.concept,)), prompt_set_for(self.base.family.folder), size)

    def neutral_pairs(self) -> list[tuple[str, str]]:
        """The measured prompts, each with the same prompt without the concept; the plan's if no measured prompt names it.

        A training run has seen the plan's, so they are the last choice.
        """
        plan = self.plan()
        pairs = [(case.prompt, without_concepts(case.prompt, plan.concepts)) for case in self.cases]
        return [pair for pair in pairs if pair[1]] or [(pair.prompt, pair.neutral) for pair in plan.pairs]

    def training_prompts(self) -> list[tuple[str, str]]:
        """Prompts with the concept, each with the same prompt that has a gap for pseudo-tokens (`{}`) instead."""
        plan = self.plan()
        return [(pair.prompt, with_gap(pair, plan.concepts[0])) for pair in plan.pairs]

    def first_seed(self) -> int:
        """The first seed of the clips that an attacker starts from."""
        return TARGET_SEED + 200 + 1000 * self.budget.seed

    def latents_of_base(self, prompts: Sequence[str], first_seed: int) -> Tensor:
        """Latents of clips of the base model, (B, ...), one per prompt with consecutive seeds; sampled once."""
        seeds = range(first_seed, first_seed + len(prompts))
        steps, guidance = self.budget.sampling_steps, self.budget.guidance_scale
        key = tuple(prompts), first_seed, steps, guidance
        if key not in self.made:
            self.made[key] = clip_latents(self.base, prompts, seeds, steps=steps, guidance_scale=guidance)
        return self.made[key]

    def success(self, model: T2VModel, prompts: Sequence[str]) -> list[bool]:
        """For each case whether the clip of its prompt shows the concept."""
        found: list[bool] = []
        budget = self.budget
        for first in range(0, len(prompts), budget.batch_size):
            rows = slice(first, first + budget.batch_size)
            seeds = [case.seed for case in self.cases[rows]]
            clips = model.sample(
                prompts[rows], seeds=seeds, num_inference_steps=budget.sampling_steps, guidance_scale=budget.guidance_scale
            )
            found += self.judged(clips)
            self.on_step()
        return found

    def judged(self, clips: Tensor) -> list[bool]:
        """For each clip (B, F, 3, H, W) whether it shows the concept."""
        return [judgement.shown[self.name] for judgement in self.detector.judge(clips, [self.name])]


@dataclass(frozen=True)
class AttackTask:
    """What is attacked in an evaluation: the concept, the detector, the prompts and the budget."""

    concept: str
    name: str
    """The detector's own name of the concept."""
    detector: Detector
    prompts: PromptSet
    budget: AttackBudget

    def target(self, base: T2VModel) -> Target:
        """The target, with success measured on the terse prompts."""
        cases = attack_cases(self.prompts, self.budget.measured_clips)
        return Target(self.concept, self.name, base, self.detector, cases, self.budget)


def attack_cases(prompts: PromptSet, count: int) -> tuple[Case, ...]:
    """Terse prompts, repeated up to the count, with seeds that only attacks use."""
    terse = terse_cases(prompts)
    chosen = [(index, terse[index % len(terse)]) for index in range(count)]
    return tuple(
        Case(case.prompt, case.register, case.concept, case.seed + ATTACK_ROUND * ROUND + index // len(terse) * REPEAT)
        for index, case in chosen
    )


def terse_cases(prompts: PromptSet) -> list[Case]:
    """The cases that attacks are measured on. Raises UserError if there are none."""
    terse = prompts.of("terse")
    if not terse:
        raise UserError("Attacks are measured on terse prompts, and the prompt set has none.")
    return terse


@dataclass(frozen=True)
class Outcome:
    """The result of an attack on one model: which clips show the concept, and the loss at the start and at the end."""

    found: list[bool]
    loss: tuple[float, float] | None = None
    note: str = ""
    parts: dict[str, list[int]] = field(default_factory=dict)
    """By depth, setting, or start and step: how many clips show the concept, of how many."""


def tally(found: Mapping[str, Sequence[bool]]) -> dict[str, list[int]]:
    """Clips by title that show the concept, counted; titles without clips are left out."""
    return {title: [sum(own), len(own)] for title, own in found.items() if own}


def compare_with_controls(
    before: Outcome, erased: Outcome, control: Outcome, never_knew: Outcome | None, budget: str
) -> AttackScores:
    """The attack on the erased model, compared with no attack and with the same attack on the control models."""
    runs = {"erased": erased, "control": control, "never_knew": never_knew}
    return AttackScores(
        before=rate(before.found),
        after=rate(erased.found),
        clips=len(erased.found),
        interval=_interval(erased),
        gain=compare(before.found, erased.found),
        control=rate(control.found),
        control_interval=_interval(control),
        never_knew=None if never_knew is None else rate(never_knew.found),
        never_knew_interval=None if never_knew is None else _interval(never_knew),
        against_never_knew=None if never_knew is None else compare(never_knew.found, erased.found),
        loss={name: _finite(run) for name, run in runs.items()},
        note=erased.note,
        budget=budget,
        parts={name: _part(name, counted, control) for name, counted in erased.parts.items()},
    )


def _part(name: str, counted: Sequence[int], control: Outcome) -> AttackPart:
    """A part of an attack, and the same part on the control, if that has it."""
    shown, clips = counted
    before, of = control.parts.get(name, (0, 0))
    return AttackPart(shown=shown, clips=clips, control=before if of == clips else None)


def _interval(outcome: Outcome) -> Interval:
    return wilson_interval(sum(outcome.found), len(outcome.found))


def _finite(outcome: Outcome | None) -> Interval | None:
    """The losses of an attack; None if it has none or diverged, since JSON has no NaN."""
    if outcome is None or outcome.loss is None or not all(math.isfinite(loss) for loss in outcome.loss):
        return None
    first, last = outcome.loss
    return first, last
