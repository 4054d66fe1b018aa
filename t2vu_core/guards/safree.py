"""SAFREE (Yoon et al., ICLR 2025, arXiv 2410.12761): training-free, by projecting the prompt's trigger words.

Its third part, the Fourier filter on skip connections, is specific to U-Nets; like the authors' text-to-video code,
this one leaves it out. That code has no self-validating filter either, and all of the authors' code also uses the
concepts as the negative prompt: `self_validating=False, negative_prompt=True`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from t2vu_core.families import Family
from t2vu_core.guards.negative_prompt import NegativePrompt
from t2vu_core.guards.prompt_adjustment import adjust_prompts
from t2vu_core.guards.subspace import authors_share, papers_share
from t2vu_core.sampling import Guided, Predictor

Mapping = Literal["paper", "authors"]
VERSION = 2
"""Raised when the same settings give other clips, so that measured rows are made again. Version 1 took the distance of the
trigger words' mean only."""
SHARES = {"paper": papers_share, "authors": authors_share}


@dataclass(frozen=True)
class SAFREE:
    """Uses adjusted prompts in the first steps, which decide a clip's content, and the original prompt afterwards.

    `first_share` is the largest share of steps to guard: the authors' text-to-video code guards steps 0 to 12 of 50.
    With `self_validating`, the more the projection changes a prompt, the longer that prompt is guarded: with the `mapping`
    "paper" by the equation for t' in the paper, with gamma as that share; with "authors" by the steeper one of their code,
    under which a prompt that is changed little is not guarded at all. The midpoint of that one suits the embeddings of
    CLIP; `benchmarks.safree_steps` counts the steps on a model with T5. With `negative_prompt`, guidance goes away from
    the concepts in all steps, as `NegativePrompt` does.
    """

    concepts: tuple[str, ...]
    alpha: float = 0.01
    first_share: float = 0.26
    self_validating: bool = True
    mapping: Mapping = "paper"
    negative_prompt: bool = False

    def start(self, family: Family, prompts: Sequence[str], num_inference_steps: int, plain: Guided) -> Predictor:
        if self.negative_prompt:
            plain = NegativePrompt(self.concepts).start(family, prompts, num_inference_steps, plain)
        adjusted = adjust_prompts(family, prompts, self.concepts, alpha=self.alpha)
        guarded = self.guarded_steps(adjusted.distances, num_inference_steps)
        step = 0

        def predict(latents: Tensor, timestep: Tensor) -> Tensor:
            nonlocal step
            condition = plain.condition
            use = (step < guarded).to(condition.embeds_BSD.device)[:, None, None]
            step += 1
            embeds = torch.where(use, adjusted.condition.embeds_BSD, condition.embeds_BSD)
            mixed = dataclasses.replace(plain, condition=dataclasses.replace(condition, embeds_BSD=embeds))
            return mixed(latents, timestep)

        return predict

    def guarded_steps(self, distances: Sequence[float | None], num_inference_steps: int) -> Tensor:
        """For how many of the first steps each prompt is guarded, (B,), by how far the projection would move it."""
        filtered = SHARES[self.mapping]
        shares = [None if each is None else filtered(each) if self.self_validating else 1.0 for each in distances]
        return guarded_steps(shares, num_inference_steps, self.first_share, at_least=1 if self.mapping == "paper" else 0)

    def describe(self) -> dict[str, Any]:
        return {"name": "safree", "version": VERSION, **dataclasses.asdict(self)}


def guarded_steps(shares: Sequence[float | None], num_inference_steps: int, first_share: float, at_least: int = 1) -> Tensor:
    """For how many of the first steps each prompt is guarded, (B,): none without a trigger word, whose share is None."""
    steps = [0 if share is None else max(at_least, round(first_share * num_inference_steps * share)) for share in shares]
    return torch.tensor(steps)
