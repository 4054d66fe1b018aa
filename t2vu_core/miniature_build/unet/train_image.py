"""Training of the image model, text encoder and UNet together, on single frames of the world and fresh captions.

Late frames are drawn more often than early ones. Seen singly, a frame of something that moves left looks like
one that moves right, so the image UNet would not learn which word it was, and the motion adapter, which reads
no text of its own, could never know. Late frames show where a motion leads.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from t2vu_core.erasure import atomic_path
from t2vu_core.miniature.world import NUM_FRAMES, render_with_coverage, sample_labels
from t2vu_core.miniature_build.averaging import MovingAverage
from t2vu_core.miniature_build.noising import noised, weighted_error
from t2vu_core.miniature_build.optimizers import Optimizers, split, trapezoid
from t2vu_core.miniature_build.progress import Budget, Progress, compile_for
from t2vu_core.miniature_build.train_denoiser import SUBJECT_WEIGHT, TEXT_RATE, draw_caption, plain_attention
from t2vu_core.miniature_build.unet.architecture import MAX_TEXT_TOKENS, SPATIAL_RATIO, make_scheduler
from t2vu_core.mixed_precision import CPU, mixed_precision


@dataclass
class EncodedFrames:
    """The training set: labels (n, 5), scaled latents of all frames (n, F, C, h, w) and the loss's weights (n, F, 1, h, w)."""

    labels: list[list[int]]
    latents: Tensor
    weights: Tensor

    def save(self, path: Path) -> None:
        """Write it to a file that appears whole or not at all."""
        with atomic_path(path) as temporary:
            save_file({"labels": torch.tensor(self.labels), "latents": self.latents, "weights": self.weights}, temporary)

    @classmethod
    def load(cls, path: Path) -> EncodedFrames:
        """Read what `save` wrote."""
        tensors = load_file(path)
        return cls(tensors["labels"].tolist(), tensors["latents"], tensors["weights"])


@torch.no_grad()
def encode_frames(vae: AutoencoderKL, count: int, *, seed: int) -> EncodedFrames:
    """Render and encode clips; sets the VAE's `scaling_factor` so that latents have unit variance."""
    generator = torch.Generator().manual_seed(seed)
    labels = sample_labels(count, generator, two_subjects=0.25)
    parts, coverages = [], []
    for rows in labels.split(32):
        clips, coverage = render_with_coverage(rows, generator)
        with mixed_precision(CPU):
            latents = vae.encode(clips.flatten(0, 1)).latent_dist.mode()
        parts.append(latents.float().unflatten(0, (len(rows), NUM_FRAMES)).to(torch.bfloat16))
        coverages.append(F.avg_pool2d(coverage.flatten(0, 1), SPATIAL_RATIO).unflatten(0, (len(rows), NUM_FRAMES)))
    latents, weights = torch.cat(parts), 1 + SUBJECT_WEIGHT * torch.cat(coverages)
    vae.register_to_config(scaling_factor=1 / latents.float().std().item())
    scaled = latents.mul_(vae.config.scaling_factor)
    return EncodedFrames(labels.tolist(), scaled, (weights / weights.mean()).to(torch.bfloat16))


def encode_captions(text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Captions -> states (B, 48, D), padded and encoded as the stock pipelines do."""
    tokens = tokenizer(captions, padding="max_length", max_length=MAX_TEXT_TOKENS, truncation=True, return_tensors="pt")
    return text_encoder(tokens.input_ids)[0]


def draw_frames(count: int, generator: torch.Generator) -> Tensor:
    """Which frame of each clip: the last is drawn nine times as often as the first."""
    weights = torch.arange(1.0, NUM_FRAMES + 1)
    return torch.multinomial(weights, count, replacement=True, generator=generator)


def train_image(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    frames: EncodedFrames,
    budget: Budget,
) -> float:
    """Train both in place; they end as the moving average of their weights. Returns the seconds spent."""
    model = nn.ModuleDict({"unet": unet, "text_encoder": text_encoder}).train().requires_grad_(True)
    matrices, rest = split(unet, first_and_last=("conv_in.", "conv_out.", "time_embedding."))
    groups = [{"params": rest, "lr": 1e-3}, {"params": list(text_encoder.parameters()), "lr": TEXT_RATE}]
    optimizers = Optimizers(matrices, groups)
    average = MovingAverage(model.parameters(), decay=0.9985)
    alphas = make_scheduler().alphas_cumprod.float()
    progress = Progress("image", budget.minutes, average, optimizers, state=budget.state, on_interval=budget.on_interval)
    first = budget.seed + progress.step
    generator, rng = torch.Generator().manual_seed(first), random.Random(first)
    compile_for(unet, budget.minutes)
    with plain_attention():
        while progress.begin():
            rows = torch.randint(0, len(frames.latents), (budget.batch_size,), generator=generator)
            drawn = draw_frames(budget.batch_size, generator)
            noisy, timesteps, velocity = noised(frames.latents[rows, drawn].float(), generator, alphas)
            captions = [draw_caption(frames.labels[row], rng) for row in rows]
            with mixed_precision(CPU):
                text = encode_captions(text_encoder, tokenizer, captions)
                predicted = unet(noisy, timesteps, text, return_dict=False)[0]
            loss = weighted_error(predicted, velocity, frames.weights[rows, drawn])
            optimizers.step(loss, factor=trapezoid(progress.step, progress.done))
            progress.end(loss.item())
    model.eval()
    return progress.spent
