"""Joint training of the miniature's text encoder and denoiser on encoded clips and fresh captions."""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLLTXVideo, CogVideoXTransformer3DModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from t2vu_core.miniature.architecture import MAX_TEXT_TOKENS, SPATIAL_RATIO, TEMPORAL_RATIO, make_scheduler
from t2vu_core.miniature.averaging import MovingAverage
from t2vu_core.miniature.captions import Register, caption
from t2vu_core.miniature.world import render_with_coverage, sample_labels_without

log = logging.getLogger(__name__)

CAPTION_DROPOUT = 0.1
FACT_DROPOUT = 0.08
MINUTES_WORTH_COMPILING = 10.0
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
) -> EncodedClips:
    """Render and encode clips, none of them with the concept `without`.

    Sets the VAE's `scaling_factor` so that latents have unit variance, or keeps it.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = sample_labels_without(without, count, generator, two_subjects=two_subjects)
    parts, coverages = [], []
    for rows in labels.split(64):
        clips, coverage = render_with_coverage(rows, generator)
        with torch.autocast("cpu", torch.bfloat16):
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


def draw_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Stratified over 0..999; a third is drawn to the middle, a third to the end, where words alone say what goes where."""
    uniform = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    middle = torch.special.ndtr(torch.special.ndtri(uniform.clamp(1e-4, 1 - 1e-4)) * 0.7 + 0.3)
    end = 0.85 + 0.15 * uniform
    mixed = torch.stack([uniform, middle, end])[torch.arange(count) % 3, torch.arange(count)]
    return (mixed * 1000).long().clamp(0, 999)


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
    *,
    minutes: float,
    seed: int,
    batch_size: int = 32,
    peak: float = 1.0,
    on_interval: Callable[[float], None] | None = None,
) -> None:
    """Train both in place for a time budget of v-prediction; the weights left behind are the moving average.

    `peak` scales the highest learning rates: less than 1 goes on from trained weights. `on_interval(minutes)`
    is called about every ten minutes with the averaged weights in place. A long training is compiled where there
    is a C++ compiler: 80 seconds at first, then a step takes 0.73 of the time.
    """
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    model = nn.ModuleDict({"transformer": transformer, "text_encoder": text_encoder})
    optimizers = _optimizers(model)
    average = MovingAverage(model.parameters(), decay=0.9985)
    alphas = make_scheduler().alphas_cumprod.float()
    spent, step, recent, reported = 0.0, 0, [], 0.0
    if minutes >= MINUTES_WORTH_COMPILING and shutil.which("g++"):
        transformer.compile()
    with plain_attention():
        while (done := spent / (60 * minutes)) < 1:
            tick = time.monotonic()
            _set_rates(optimizers, peak * min(1, (step + 1) / 100) * (1.0 if done < 0.45 else max(0.02, (1 - done) / 0.55)))
            rows = torch.randint(0, len(clips.latents), (batch_size,), generator=generator)
            captions = [draw_caption(clips.labels[row], rng) for row in rows]
            loss = _loss(model, tokenizer, clips, rows, captions, alphas, generator)
            _step(model, optimizers, loss)
            average.update()
            recent.append(loss.item())
            step += 1
            spent += time.monotonic() - tick
            if step % 100 == 0:
                mean, recent = sum(recent) / len(recent), []
                log.info("denoiser step %d: loss %.4f, %.1f min, %.0f ms a step", step, mean, spent / 60, 1000 * spent / step)
            if on_interval and spent / 60 >= reported + 10:
                reported = spent / 60
                live = [parameter.detach().clone() for parameter in average.parameters]
                average.copy_to_parameters()
                on_interval(reported)
                with torch.no_grad():
                    for parameter, value in zip(average.parameters, live, strict=True):
                        parameter.copy_(value)
    average.copy_to_parameters()
    log.info("denoiser: %d steps", step)


def _loss(
    model: nn.ModuleDict,
    tokenizer: PreTrainedTokenizerFast,
    clips: EncodedClips,
    rows: Tensor,
    captions: list[str],
    alphas: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Weighted squared error of the velocity alpha * noise - sigma * latents (Salimans & Ho, arXiv 2202.00512)."""
    latents = clips.latents[rows].float()
    timesteps = draw_timesteps(len(latents), generator)
    noise = torch.randn(latents.shape, generator=generator)
    alpha = alphas[timesteps].sqrt().view(-1, 1, 1, 1, 1)
    sigma = (1 - alphas[timesteps]).sqrt().view(-1, 1, 1, 1, 1)
    tokens = tokenizer(captions, padding="max_length", max_length=MAX_TEXT_TOKENS, truncation=True, return_tensors="pt")
    with torch.autocast("cpu", torch.bfloat16):
        text = model["text_encoder"](tokens.input_ids)[0]
        predicted = model["transformer"](alpha * latents + sigma * noise, text, timesteps, return_dict=False)[0]
    return (clips.weights[rows].float() * (predicted.float() - (alpha * noise - sigma * latents)).square()).mean()


def _optimizers(model: nn.ModuleDict) -> list[torch.optim.Optimizer]:
    """Muon for the denoiser's matrices of attention and feed-forward, AdamW for the rest.

    The text encoder learns slowly: at the denoiser's pace it drowns the subjects' words in what is easier
    to draw (styles, backgrounds) before the denoiser has found a use for them.
    """
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model["transformer"].named_parameters():
        inside = ".attn1." in name or ".ff." in name
        (matrices if parameter.ndim == 2 and inside else rest).append(parameter)
    groups = [{"params": rest, "lr": 1e-3}, {"params": list(model["text_encoder"].parameters()), "lr": 1e-4}]
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    muon = torch.optim.Muon(matrices, lr=1e-2, weight_decay=0.01, momentum=0.95, nesterov=True, ns_steps=5)
    for optimizer in (adam, muon):
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return [adam, muon]


def _set_rates(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor


def _step(model: nn.ModuleDict, optimizers: list[torch.optim.Optimizer], loss: Tensor) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
