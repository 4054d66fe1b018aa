"""PROBE (arXiv 2603.21547): pseudo-tokens are learned against the frozen model, to see whether it still holds the concept."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from t2vu_core.evaluation.attacks.base import TARGET_SEED, Outcome, Target
from t2vu_core.evaluation.attacks.denoising import denoising_loss, first_and_last
from t2vu_core.evaluation.attacks.pseudo_tokens import Placeholder, input_embeddings, replaced, token_ids
from t2vu_core.model import T2VModel

RELATIVE_LEARNING_RATE = 0.1
"""Relative to the standard deviation of the embedding table: tables differ by orders of magnitude."""


def probe(model: T2VModel, target: Target) -> Outcome:
    """Learn input embeddings of the text encoder with which the model denoises clips of the concept.

    The loss is the denoising loss on clips of the base model (the paper adds a loss on x_0, which for diffusion only
    weights the timesteps differently). The vectors start as the concept's own tokens.
    """
    placeholder, vectors, loss = learn_tokens(model, target, lambda soft: soft)
    names = (target.concept, target.name)
    prompts = [placeholder.instead_of(names, case.prompt) for case in target.cases]
    with replaced(model.family, placeholder, vectors):
        return Outcome(target.success(model, prompts), loss)


def learn_tokens(
    model: T2VModel, target: Target, read: Callable[[Tensor], Tensor]
) -> tuple[Placeholder, Tensor, tuple[float, float]]:
    """Minimise the denoising loss over k input vectors; `read` maps the learned (k, D) to the vectors that the encoder gets.

    Returns the placeholder, the vectors that the encoder gets, and the mean losses of the first and the last tenth.
    """
    budget, family = target.budget, model.family
    pairs = target.training_prompts()
    placeholder = Placeholder.choose(family.text.tokenizer, [text for pair in pairs for text in pair] + [
        case.prompt for case in target.cases], budget.tokens)  # fmt: skip
    clean = target.latents_of_base([pair[0] for pair in pairs], TARGET_SEED + budget.seed * 1000)
    prompts = [pair[1].replace("{}", placeholder.text) for pair in pairs]
    generator = torch.Generator().manual_seed(budget.seed)
    with torch.inference_mode(False), torch.enable_grad(), model.active():
        soft = _start(model, target).requires_grad_()
        optimizer = torch.optim.AdamW([soft], RELATIVE_LEARNING_RATE * float(_table(model).std()), weight_decay=0.0)
        losses = []
        for _ in range(budget.steps):
            rows = torch.randperm(len(prompts), generator=generator)[: budget.batch_size].tolist()
            with replaced(family, placeholder, read(soft)):
                condition = family.encode_with_gradients([prompts[row] for row in rows])
            loss = denoising_loss(family, clean[rows], condition, model.clip_size(), generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            target.on_step()
    return placeholder, read(soft).detach(), first_and_last(losses)


def _table(model: T2VModel) -> Tensor:
    table: Tensor = input_embeddings(model.family).weight  # type: ignore[assignment]
    return table.detach().float()


def _start(model: T2VModel, target: Target) -> Tensor:
    """The embeddings of the concept's own tokens, repeated to (k, D)."""
    own = token_ids(model.family.text.tokenizer, target.concept)
    ids = [own[index % len(own)] for index in range(target.budget.tokens)]
    return _table(model)[ids].clone()
