"""Joint training of the miniature's text encoder and denoiser on encoded clips and fresh captions."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLLTXVideo, CogVideoXTransformer3DModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from t2vu_core.miniature.captions import Register, caption
from t2vu_core.miniature.world import render_with_coverage, sample_labels_without
from t2vu_core.miniature_build.architecture import MAX_TEXT_TOKENS, SPATIAL_RATIO, TEMPORAL_RATIO, make_scheduler
from t2vu_core.miniature_build.averaging import MovingAverage
from t2vu_core.miniature_build.noising import noised, weighted_error
from t2vu_core.miniature_build.optimizers import Optimizers, trapezoid
from t2vu_core.miniature_build.progress import Budget, Progress, compile_for
from t2vu_core.mixed_precision import CPU, mixed_precision

CAPTION_DROPOUT = 0.1
FACT_DROPOUT = 0.08
TEXT_RATE = 1e-4
# Where a subject is counts so much more: one small glyph says which of twelve it is, the rest of the frame says it four times.
SUBJECT_WEIGHT = 3.0
REGISTER_SHARES: dict[Register, float] = {"terse": 0.5, "synonym": 0.25, "refined": 0.25}


@dataclass
class EncodedClips:
    """The training set: labels (n, 5), scaled latents (n, f, c, h, w) and what the loss weighs (n, f, 1, h, w), in bf16."""

    labels: list[list[int]]
    latents: Tensor
    weights: Tensor


@torch.no_grad()
def encode_clips(
    vae: AutoencoderKLLTXVideo,
    count: int,
    *,
    seed: int,
    two_subjects: float = 0.25,
    keep_scale: bool = False,
    without: str | None = None,
    favour: Sequence[str] = (),
) -> EncodedClips:
    """Render and encode clips, none of them with the concept `without`, the subjects in `favour` more often.

    Sets the VAE's `scaling_factor` so that latents have unit variance, or keeps it.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = sample_labels_without(without, count, generator, two_subjects=two_subjects, favour=favour)
    parts, coverages = [], []
    for rows in labels.split(64):
        clips, coverage = render_with_coverage(rows, generator)
        with mixed_precision(CPU):
            latents = vae.encode(clips.transpose(1, 2)).latent_dist.mode()
        parts.append(latents.float().transpose(1, 2))
        coverages.append(F.avg_pool3d(coverage.transpose(1, 2), (TEMPORAL_RATIO, SPATIAL_RATIO, SPATIAL_RATIO)).transpose(1, 2))
    latents = torch.cat(parts)
    weights = 1 + SUBJECT_WEIGHT * torch.cat(coverages)
    if not keep_scale:
        vae.register_to_config(scaling_factor=1 / latents.std().item())
    scaled = latents * vae.config.scaling_factor
    return EncodedClips(labels.tolist(), scaled.to(torch.bfloat16), (weights / weights.mean()).to(torch.bfloat16))


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Attention as two matrix products: on a CPU the fused kernel's backward takes half of a training step.

    Masks count: CLIP's is causal, T5's positions come as one.
    """

    def attend(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
        is_causal: bool = False, scale: float | None = None, **_: object,
    ) -> Tensor:  # fmt: skip
        scores = (query @ key.transpose(-1, -2)) * (scale or query.shape[-1] ** -0.5)
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril() if is_causal else attn_mask
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
        return torch.softmax(scores, -1).to(value.dtype) @ value

    fused: Any = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = cast(Any, attend)
    try:
        yield
    finally:
        F.scaled_dot_product_attention = fused


def draw_caption(labels: list[int], rng: random.Random) -> str:
    """A caption of any register, or none."""
    if rng.random() < CAPTION_DROPOUT:
        return ""
    register = rng.choices(list(REGISTER_SHARES), list(REGISTER_SHARES.values()))[0]
    return caption(labels, rng, register=register, drop=FACT_DROPOUT)


def train_denoiser(
    transformer: CogVideoXTransformer3DModel,
    text_encoder: T5EncoderModel,
    tokenizer: PreTrainedTokenizerFast,
    clips: EncodedClips,
    budget: Budget,
    *,
    peak: float = 1.0,
) -> None:
    """Train both in place for a time budget of v-prediction; the weights left behind are the moving average.

    `peak` scales the highest learning rates: less than 1 goes on from trained weights. An interrupted run goes on with other
    draws than before. A long run is compiled where that pays.
    """
    model = nn.ModuleDict({"transformer": transformer, "text_encoder": text_encoder})
    optimizers = _optimizers(model)
    alphas = make_scheduler().alphas_cumprod.float()
    average = MovingAverage(model.parameters(), decay=0.9985)
    progress = Progress(
        "denoiser", budget.minutes, average, optimizers, state=budget.state, on_interval=budget.on_interval
    )  # fmt: skip
    seed = budget.seed + progress.step
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    compile_for(transformer, budget.minutes)
    with plain_attention():
        while progress.begin():
            rows = torch.randint(0, len(clips.latents), (budget.batch_size,), generator=generator)
            captions = [draw_caption(clips.labels[row], rng) for row in rows]
            tokens = tokenizer(captions, padding="max_length", max_length=MAX_TEXT_TOKENS, truncation=True, return_tensors="pt")
            noisy, timesteps, velocity = noised(clips.latents[rows].float(), generator, alphas)
            with mixed_precision(CPU):
                predicted = transformer(noisy, text_encoder(tokens.input_ids)[0], timesteps, return_dict=False)[0]
            loss = weighted_error(predicted, velocity, clips.weights[rows])
            optimizers.step(loss, factor=peak * trapezoid(progress.step, progress.done))
            progress.end(loss.item())


def _optimizers(model: nn.ModuleDict) -> Optimizers:
    """Muon for the denoiser's matrices of attention and feed-forward, AdamW for the rest.

    The text encoder learns slowly: at the denoiser's pace it drowns the subjects' words in what is easier
    to draw (styles, backgrounds) before the denoiser has found a use for them.
    """
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model["transformer"].named_parameters():
        inside = ".attn1." in name or ".ff." in name
        (matrices if parameter.ndim == 2 and inside else rest).append(parameter)
    return Optimizers(
        matrices, [{"params": rest, "lr": 1e-3}, {"params": list(model["text_encoder"].parameters()), "lr": TEXT_RATE}]
    )
