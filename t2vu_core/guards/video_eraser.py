"""VideoEraser (Xu et al., EMNLP 2025, arXiv 2508.15314): adjusted prompts and guidance away from the concept.

Follows the formulas of the released code. Its CogVideoX variant rewrites the concept's row instead of the prompt's and
splits the concept at commas; its ModelScope variant resets the momentum at every step. This code does neither.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from t2vu_core.families import Family, TextCondition
from t2vu_core.guards.negative_prompt import check_guidance
from t2vu_core.guards.prompt_adjustment import adjust_prompts, check_concepts
from t2vu_core.sampling import Guided, Predictor


@dataclass(frozen=True)
class VideoEraser:
    """Selective prompt embedding adjustment (SPEA) and adversarial-resilient noise guidance (ARNG)."""

    concepts: tuple[str, ...]
    alpha: float = 0.01
    weight: float = 1000.0
    momentum_scale: float = 0.5
    momentum_decay: float = 0.5
    threshold: float = 1.0
    warmup_steps: int = 0

    def start(self, family: Family, prompts: Sequence[str], num_inference_steps: int, plain: Guided) -> Predictor:
        empty = check_guidance(plain.empty, "VideoEraser")
        adjusted = adjust_prompts(family, prompts, self.concepts, alpha=self.alpha).condition
        concept = family.encode([", ".join(check_concepts(self.concepts))]).expand(len(prompts))
        texts = TextCondition.cat([empty, adjusted, concept])
        step, momentum = 0, torch.zeros(())

        def predict(latents: Tensor, timestep: Tensor) -> Tensor:
            nonlocal step, momentum
            output = plain.denoiser(torch.cat([latents] * 3), timestep.expand(3 * len(latents)), texts)
            v_empty, v_prompt, v_concept = output.chunk(3)
            away = concept_guidance(v_empty, v_prompt, v_concept, weight=self.weight, threshold=self.threshold)
            away = away + self.momentum_scale * momentum.to(away.device)
            momentum = self.momentum_decay * momentum.to(away.device) + (1 - self.momentum_decay) * away
            guidance = v_prompt - v_empty - (away if step >= self.warmup_steps else 0)
            step += 1
            return v_empty + plain.guidance_scale * guidance

        return predict

    def describe(self) -> dict[str, Any]:
        return {"name": "video_eraser", **dataclasses.asdict(self)}


def concept_guidance(v_empty: Tensor, v_prompt: Tensor, v_concept: Tensor, *, weight: float, threshold: float) -> Tensor:
    """ARNG's term mu * (v(x, c) - v(x, 0)), elementwise, before momentum; all shapes are that of the latents.

    mu = min(1, weight |v(x, p) - v(x, c)|) where v(x, p) - v(x, c) < threshold, else 0 (as in safe latent
    diffusion, Schramowski et al., arXiv 2211.05105, with the sign of the scale bounded above).
    """
    scale = (weight * (v_prompt - v_concept).abs()).clamp(max=1)
    scale = torch.where(v_prompt - v_concept >= threshold, 0, scale)
    return scale * (v_concept - v_empty)
