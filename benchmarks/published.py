"""Published baselines that are trained: Receler and LECO, each after its own code, on any family.

Both take x_t from trajectories of the frozen model, sampled once; their code samples a part of a trajectory for every step,
Receler's with its current eraser. That is all that differs unless a docstring says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Erasure
from t2vu_core.families.base import ClipSize, EraserSite, Family, TextCondition
from t2vu_core.model import T2VModel
from t2vu_core.objectives.localization import outside_mask
from t2vu_core.objectives.velocity import negative_guidance_target
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.plan import plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import EraserType
from t2vu_core.training.velocity.encoded_prompts import named_at
from t2vu_core.training.velocity.localizing import OutsideMask
from t2vu_core.training.velocity.rollout import Route, TrajectoryPrompts, sample_trajectories
from t2vu_core.training.velocity.soft_tokens import soft_token_attack
from t2vu_core.training.velocity.trajectories import Trajectories


@dataclass(frozen=True)
class Erased:
    """The result of a method."""

    model: T2VModel
    train_seconds: float = 0.0


@dataclass
class Baseline:
    """A run of a baseline: points of the frozen model, its erasers, and the time since it began."""

    family: Family
    size: ClipSize
    condition: TextCondition
    positions: list[list[int]]
    points: Trajectories
    sites: list[EraserSite]
    erasers: EraserSet
    generator: torch.Generator
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, model: T2VModel, concept: str, seed: int, *, kind: EraserType, rank: int, mask: bool) -> Baseline:
        """Sample the points. `kind` is lora or bottleneck; with `mask`, where the attention finds the concept is kept."""
        started, family = time.monotonic(), model.family
        size = family.defaults.size
        plan = plan_request(ConceptRequest((concept,)), prompt_set_for(family.folder), PlanSize(16, 0, seed))
        texts, neutral = [pair.prompt for pair in plan.pairs], [pair.neutral for pair in plan.pairs]
        condition, positions = family.encode(texts), [named_at(family, text, plan.names) for text in texts]
        seeds = [1_000_000 * (seed + 1) + index for index in range(len(texts))]
        asked = TrajectoryPrompts(
            condition, family.encode([""]), seeds, family.encode(neutral) if mask else None, positions if mask else None
        )
        points = sample_trajectories(family, asked, Route(size, 10, 3.0, mask_source="attention"))
        sites = family.sites_of_kind(kind)
        erasers = EraserSet.create(sites, rank=rank, seed=seed).to(family.device)
        generator = torch.Generator().manual_seed(seed)
        return cls(family, size, condition, positions, points, sites, erasers, generator, started)

    def rows(self, count: int) -> Tensor:
        """Random points."""
        return torch.randint(0, len(self.points), (count,), generator=self.generator)

    def target(self, rows: Tensor, eta: float) -> Tensor:
        """`v(x, 0) - eta (v(x, c) - v(x, 0))` of the frozen model."""
        with_it, without = (self.points.predictions[name][rows].float() for name in ("prompt", "empty"))
        return negative_guidance_target(with_it, without, eta).to(self.family.device)

    def predict(self, rows: Tensor, condition: TextCondition) -> Tensor:
        """The prediction at some points, with the erasers if they are attached."""
        latents, timesteps = self.points.latents[rows].float(), self.points.timesteps[rows]
        with self.family.mixed_precision():
            return self.family.predict(latents.to(self.family.device), timesteps.to(self.family.device), condition, self.size)

    def train(self, steps: int, rate: float, loss_of: Callable[[int], Tensor]) -> None:
        """Adam on the erasers."""
        optimizer = torch.optim.Adam(self.erasers.parameters(), rate)
        for step in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss_of(step).backward()
            optimizer.step()

    def finish(self, model: T2VModel, concept: str, method: str) -> Erased:
        """The model with the trained erasers."""
        erasure = Erasure("eraser", (concept,), model.base, self.erasers.requires_grad_(False).named_tensors(), method)
        return Erased(model.with_erasure(erasure), train_seconds=time.monotonic() - self.started)


@dataclass(frozen=True)
class Adversary:
    """The attack that erasers are trained against."""

    steps: int = 50
    every: int = 10
    """Updates of the erasers that one attack is kept for."""
    radius: float = 1.0
    """How far an embedding moves, in its own length."""


PUBLISHED_ADVERSARY = Adversary()


def receler(
    model: T2VModel, concept: str, seed: int, *, steps: int = 500, rate: float = 3e-4, rank: int = 128, eta: float = 1.0,
    adversary: Adversary = PUBLISHED_ADVERSARY, regularisation: float = 0.1,
) -> Erased:  # fmt: skip
    """Receler (Huang et al., arXiv 2311.17717): lightweight erasers, adversarial tokens, and regularisation by a mask.

    Its code trains 16 added tokens for 50 steps before every update; here the concept's own embeddings move by up to their
    length, for 50 steps before every tenth update, which keeps an attack for the ten updates that follow.
    """
    run = Baseline.start(model, concept, seed, kind="bottleneck", rank=rank, mask=True)
    localizing = OutsideMask(run.family, run.sites, run.size)
    held: dict[str, tuple[Tensor, TextCondition]] = {}

    def attack(rows: Tensor) -> TextCondition:
        own = run.points.prompt[rows]
        localizing.begin(None, torch.empty(0))
        frozen = run.points.predictions["prompt"][rows].float().to(run.family.device)
        where = [run.positions[row] for row in own.tolist()]
        predict = lambda condition: run.predict(rows, condition)  # noqa: E731
        return soft_token_attack(predict, run.condition[own], frozen, where, steps=adversary.steps, radius=adversary.radius)

    def loss_of(step: int) -> Tensor:
        if step % adversary.every == 0:
            rows = run.rows(4)
            held["now"] = rows, attack(rows)
        rows, condition = held["now"]
        timesteps = run.points.timesteps[rows].to(run.family.device)
        localizing.begin(outside_mask(run.points.mask_of(rows), 0.1).to(run.family.device), timesteps)
        erasing = F.mse_loss(run.predict(rows, condition), run.target(rows, eta))
        return erasing + regularisation * localizing.loss() / len(rows)

    with run.erasers.attached(run.sites, record=localizing.record):
        run.train(steps, rate, loss_of)
    return run.finish(model, concept, "Receler (arXiv 2311.17717)")


def leco(
    model: T2VModel, concept: str, seed: int, *, steps: int = 500, rate: float = 1e-4, rank: int = 4, eta: float = 1.0,
) -> Erased:  # fmt: skip
    """LECO, as trainers of sliders use it: a LoRA of rank 4 on the attention, towards the prediction without the concept.

    500 iterations at 1e-4 and no preservation, as in its code, which takes one point an iteration; here it takes four.
    """
    run = Baseline.start(model, concept, seed, kind="lora", rank=rank, mask=False)

    def loss_of(step: int) -> Tensor:
        rows = run.rows(4)
        return F.mse_loss(run.predict(rows, run.condition[run.points.prompt[rows]]), run.target(rows, eta))

    with run.erasers.attached(run.sites):
        run.train(steps, rate, loss_of)
    return run.finish(model, concept, "LECO")
