"""PROBE (arXiv 2603.21547): is the concept still inside? Pseudo-tokens are learned, everything else is frozen."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from t2vu_core.evaluation.attacks.base import TARGET_SEED, Outcome, Target
from t2vu_core.evaluation.attacks.denoising import denoising_loss, first_and_last
from t2vu_core.evaluation.attacks.pseudo_tokens import Placeholder, input_embeddings, replaced, token_ids
from t2vu_core.model import T2VModel

# Step of Adam relative to the spread of the embedding table: tables differ by orders of magnitude.
RELATIVE_LEARNING_RATE = 0.1


def embedding_inversion(model: T2VModel, target: Target) -> Outcome:
    """Learn vectors in the text encoder's input for which the model denoises clips of the concept.

    The loss is the denoising loss on clips that the base makes (the paper adds a loss on x_0, which for
    diffusion only weights the places differently). Starts from the concept's own words.
    """
    placeholder, vectors, loss = learn_tokens(model, target, lambda soft: soft)
    names = (target.concept, target.name)
    prompts = [placeholder.instead_of(names, case.prompt) for case in target.cases]
    with replaced(model.family, placeholder, vectors):
        return Outcome(target.success(model, prompts), loss)


def learn_tokens(
    model: T2VModel, target: Target, read: Callable[[Tensor], Tensor]
) -> tuple[Placeholder, Tensor, tuple[float, float]]:
    """Minimise the denoising loss over k input vectors; `read` turns the learned (k, D) into what is fed in.

    Returns the placeholder, the vectors as they are fed in, and the mean losses of the first and the last tenth.
    """
    budget, family = target.budget, model.family
    pairs = target.training_prompts()
    placeholder = Placeholder.choose(family.pipeline.tokenizer, [text for pair in pairs for text in pair] + [
        case.prompt for case in target.cases], budget.tokens)  # fmt: skip
    clean = target.latents_of_base([pair[0] for pair in pairs], TARGET_SEED + budget.seed * 1000)
    prompts = [pair[1].format(placeholder.text) for pair in pairs]
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
    """The concept's own tokens, over and over, (k, D)."""
    own = token_ids(model.family.pipeline.tokenizer, target.concept)
    ids = [own[index % len(own)] for index in range(target.budget.tokens)]
    return _table(model)[ids].clone()
