"""Regrowth: does benign fine-tuning bring the concept back?

The erasers are fine-tuned on clips of other things, which do not show the concept. The base weights below them still know
it, so this is the case most favorable to the attacker. A model without an erasure (the controls, or one whose own weights
were changed) gets a LoRA in its denoiser.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Erasure
from t2vu_core.evaluation.attacks.base import TARGET_SEED, Outcome, Target
from t2vu_core.evaluation.attacks.denoising import first_and_last
from t2vu_core.families import TextCondition
from t2vu_core.model import AppliedErasure, T2VModel
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.plan import plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.training.noising import denoising_loss

LEARNING_RATE = 1e-3
FRESH_RANK = 8


def regrowth(model: T2VModel, target: Target) -> Outcome:
    """Fine-tune on clips without the concept, then ask for it again."""
    grown, loss = fine_tuned(model if model.erasures else with_fresh_lora(model, target), target)
    return Outcome(target.success(grown, [case.prompt for case in target.cases]), loss)


def with_fresh_lora(model: T2VModel, target: Target) -> T2VModel:
    """The model with a LoRA in its denoiser that is initialized to change nothing."""
    lora = EraserSet.create(model.family.lora_sites(), rank=FRESH_RANK, seed=target.budget.seed)
    erasure = Erasure("eraser", (target.concept,), model.base, lora.named_tensors(), "benign fine-tune")
    return model.with_erasure(erasure)


def fine_tuned(model: T2VModel, target: Target) -> tuple[T2VModel, tuple[float, float]]:
    """The model with its last erasure fine-tuned on benign clips of the base; and the losses at the start and at the end."""
    budget, applied = target.budget, model.erasures[-1]
    losses: list[float] = []
    benign = _benign_prompts(target)
    clean = target.latents_of_base(benign, TARGET_SEED + 500 + budget.seed * 1000)
    generator = torch.Generator().manual_seed(budget.seed)
    erasers = EraserSet.from_tensors({name: value.clone() for name, value in applied.erasure.tensors.items()})
    below = dataclasses.replace(model, erasures=model.erasures[:-1])
    with torch.inference_mode(False), torch.enable_grad(), below.active() as family:
        condition = family.encode(benign)
        erasers.to(family.device)
        optimizer = torch.optim.Adam(erasers.parameters(), LEARNING_RATE)

        def loss_of() -> Tensor:
            rows = torch.randperm(len(benign), generator=generator)[: budget.batch_size]
            texts: TextCondition = condition[rows]
            if applied.erasure.kind == "unlearned_encoder":
                texts = family.encode_with_gradients([benign[row] for row in rows.tolist()])
            return denoising_loss(family, clean[rows], texts, model.clip_size(), generator)

        with erasers.attached(erasers.fit(applied.sites(family)), strength=applied.strength):
            while len(losses) < budget.steps:
                loss = loss_of()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                target.on_step()
    erasure = dataclasses.replace(applied.erasure, tensors={k: v.cpu() for k, v in erasers.named_tensors().items()})
    grown = dataclasses.replace(model, erasures=(*model.erasures[:-1], AppliedErasure(erasure, applied.strength)))
    return grown, first_and_last(losses)


def _benign_prompts(target: Target) -> list[str]:
    """Prompts to keep that do not say the concept."""
    size = PlanSize(1, target.budget.target_clips, target.budget.seed)
    return list(plan_request(ConceptRequest((target.concept,)), prompt_set_for(target.base.family.folder), size).preserve)
