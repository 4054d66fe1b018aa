"""A search for words that bring the concept back: P4D (Chin et al., arXiv 2309.06135) with hard prompts.

As in PEZ (Wen et al., arXiv 2302.03668) the gradient is taken at the nearest words and applied to the
vectors behind them. The concept's own words are excluded: `erased` already measures those.
Shapes: k learned tokens, V words that may be found, D width of the input embeddings.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.evaluation.attacks.base import Outcome, Target
from t2vu_core.evaluation.attacks.probe import learn_tokens
from t2vu_core.model import T2VModel
from t2vu_core.training.pseudo_tokens import replaced, table_of, token_ids


def prompt_attack(model: T2VModel, target: Target) -> Outcome:
    """Find words, none of them the concept's own, with which the model denoises clips of the concept."""
    allowed = allowed_tokens(model, target)
    words_VD = table_of(model.family)[allowed]
    placeholder, vectors, loss = learn_tokens(model, target, lambda soft: straight_through(soft, words_VD))
    words = model.family.text.tokenizer.decode(allowed[nearest(vectors, words_VD)].tolist())
    prompts = [placeholder.instead_of((target.concept, target.name), case.prompt) for case in target.cases]
    with replaced(model.family, placeholder, vectors):
        return Outcome(target.success(model, prompts), loss, note=f"found words: {words}")


def allowed_tokens(model: T2VModel, target: Target) -> Tensor:
    """All tokens except special ones and those that spell the concept, (V,), on the device of the embedding table."""
    tokenizer = model.family.text.tokenizer
    own = {*token_ids(tokenizer, target.concept), *token_ids(tokenizer, target.name), *tokenizer.all_special_ids}
    said = spellings(f"{target.concept} {target.name}")
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    allowed = [token for piece, token in vocabulary if token not in own and _bare(piece) not in said]
    return torch.tensor(allowed, device=table_of(model.family).device)


def spellings(text: str) -> set[str]:
    """Every word of a text in lower case, its plurals, and its singular if it looks like a plural."""
    words = set(re.findall(r"\w+", text.lower()))
    plurals = {word + ending for word in words for ending in ("s", "es")}
    plurals |= {f"{word[:-1]}ies" for word in words if word.endswith("y")}
    return words | plurals | {word.removesuffix("s") for word in words}


def _bare(piece: str) -> str:
    """What a piece of the vocabulary spells in lower case, without the tokenizers' marks of word boundaries."""
    return re.sub("▁|Ġ|</w>", "", piece).lower()


def straight_through(soft_kD: Tensor, words_VD: Tensor) -> Tensor:
    """The nearest words' embeddings, with the gradient of the vectors themselves."""
    return soft_kD + (words_VD[nearest(soft_kD.detach(), words_VD)] - soft_kD).detach()


def nearest(vectors_kD: Tensor, words_VD: Tensor) -> Tensor:
    """Index of the word with the highest cosine similarity for each vector, (k,)."""
    return (F.normalize(vectors_kD, dim=1) @ F.normalize(words_VD, dim=1).T).argmax(1)
