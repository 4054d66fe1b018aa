"""Regrowth: does harmless fine-tuning bring the concept back?

The erasers hold all of an erasure, so they are what is fine-tuned: on clips of other things, which do not
show the concept. The base below them still knows it. This is the case most favourable to the attacker.
"""

from __future__ import annotations

import dataclasses

import torch

from t2vu_core.erasers import EraserSet
from t2vu_core.evaluation.attacks.base import TARGET_SEED, Outcome, Target
from t2vu_core.evaluation.attacks.denoising import clip_latents, denoising_loss
from t2vu_core.families import TextCondition
from t2vu_core.model import AppliedErasure, T2VModel
from t2vu_core.prompts.plan import plan_prompts, prompt_set_for

LEARNING_RATE = 1e-3


def regrowth(model: T2VModel, target: Target) -> Outcome:
    """Fine-tune the last erasure's erasers on clips without the concept, then ask for it again."""
    prompts = [case.prompt for case in target.cases]
    if not model.erasures:
        return Outcome(target.success(model, prompts), 0.0, note="no erasure to fine-tune")
    grown, loss = fine_tuned(model, target)
    return Outcome(target.success(grown, prompts), loss)


def fine_tuned(model: T2VModel, target: Target) -> tuple[T2VModel, float]:
    """The model with its last erasure fine-tuned on benign clips of the base, and the last loss."""
    budget, applied = target.budget, model.erasures[-1]
    benign = _benign_prompts(target)
    seeds = [TARGET_SEED + 500 + budget.seed * 1000 + index for index in range(len(benign))]
    clean = clip_latents(target.base, benign, seeds, steps=budget.sampling_steps)
    generator = torch.Generator().manual_seed(budget.seed)
    erasers = EraserSet.from_tensors({name: value.clone() for name, value in applied.erasure.tensors.items()})
    below = dataclasses.replace(model, erasures=model.erasures[:-1])
    loss = torch.zeros(())
    with torch.inference_mode(False), torch.enable_grad(), below.active() as family:
        condition = family.encode(benign)
        erasers.to(family.device)
        optimizer = torch.optim.Adam(erasers.parameters(), LEARNING_RATE)
        with erasers.attached(erasers.fit(applied.sites(family)), strength=applied.strength):
            for _ in range(budget.steps):
                rows = torch.randperm(len(benign), generator=generator)[: budget.batch_size]
                texts: TextCondition = condition[rows]
                if applied.erasure.kind == "unlearned_encoder":
                    texts = family.encode_with_gradients([benign[row] for row in rows.tolist()])
                loss = denoising_loss(family, clean[rows], texts, model.clip_size(), generator)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
    erasure = dataclasses.replace(applied.erasure, tensors={k: v.cpu() for k, v in erasers.named_tensors().items()})
    grown = dataclasses.replace(model, erasures=(*model.erasures[:-1], AppliedErasure(erasure, applied.strength)))
    return grown, float(loss)


def _benign_prompts(target: Target) -> list[str]:
    """Prompts to keep that do not say the concept."""
    plan = plan_prompts(
        target.concept, prompt_set_for(target.base.family.folder), num_pairs=1, num_preserve=target.budget.target_clips,
        seed=target.budget.seed,
    )  # fmt: skip
    return list(plan.preserve)
