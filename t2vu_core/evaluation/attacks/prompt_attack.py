"""A search over words that bring the concept back: P4D (Chin et al., arXiv 2309.06135) with hard prompts.

As in PEZ (Wen et al., arXiv 2302.03668) the gradient is taken at the nearest words and applied to the
vectors behind them. The concept's own words are forbidden: that they do not work is what `erased` measures.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.evaluation.attacks.base import Outcome, Target
from t2vu_core.evaluation.attacks.embedding_inversion import learn_tokens
from t2vu_core.evaluation.attacks.pseudo_tokens import input_embeddings, replaced, token_ids
from t2vu_core.model import T2VModel


def prompt_attack(model: T2VModel, target: Target) -> Outcome:
    """Find words, none of them the concept's, for which the model denoises clips of the concept."""
    table: Tensor = input_embeddings(model.family).weight  # type: ignore[assignment]
    table_VD = table.detach().float()
    allowed = allowed_tokens(model, target)
    placeholder, vectors, loss = learn_tokens(model, target, lambda soft: straight_through(soft, table_VD[allowed]))
    words = model.family.pipeline.tokenizer.decode(allowed[nearest(vectors, table_VD[allowed])].tolist())
    prompts = [placeholder.instead_of((target.concept, target.name), case.prompt) for case in target.cases]
    with replaced(model.family, placeholder, vectors):
        return Outcome(target.success(model, prompts), loss, note=f"found words: {words}")


def allowed_tokens(model: T2VModel, target: Target) -> Tensor:
    """All tokens but special ones and those that spell the concept."""
    tokenizer = model.family.pipeline.tokenizer
    own = {*token_ids(tokenizer, target.concept), *token_ids(tokenizer, target.name), *tokenizer.all_special_ids}
    spelled = {target.concept.lower(), target.name.lower()}
    return torch.tensor([
        token
        for piece, token in sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        if token not in own and piece.replace("▁", "").replace("Ġ", "").replace("</w>", "").lower() not in spelled
    ])  # fmt: skip


def straight_through(soft_kD: Tensor, words_VD: Tensor) -> Tensor:
    """The nearest words' embeddings, with the gradient of the vectors themselves."""
    return soft_kD + (words_VD[nearest(soft_kD.detach(), words_VD)] - soft_kD).detach()


def nearest(vectors_kD: Tensor, words_VD: Tensor) -> Tensor:
    """Index of the word with the highest cosine similarity for each vector, (k,)."""
    return (F.normalize(vectors_kD, dim=1) @ F.normalize(words_VD, dim=1).T).argmax(1)
