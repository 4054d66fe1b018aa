"""Training of the denoiser by flow matching, on clips and captions that lie encoded on the device."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
from torch import Tensor
from transformers import T5EncoderModel

from t2vu_core.miniature.world import render_with_coverage
from t2vu_core.miniature.worlds import WORLD_64
from t2vu_core.miniature_build.ltx.architecture import LIVE_CHANNELS, ROPE_SCALE, SPATIAL_RATIO, TEMPORAL_RATIO
from t2vu_core.miniature_build.ltx.caption_bank import END, PAD, padded
from t2vu_core.miniature_build.ltx.device import bf16
from t2vu_core.miniature_build.ltx.optimizer import MuonAdam, matrices_inside
from t2vu_core.miniature_build.ltx.timed_run import TimedRun, trainable

log = logging.getLogger(__name__)

Mode = Literal["eager", "graph", "compiled"]

MUON_RATE, ADAM_RATE = 1e-2, 1e-3
SUBJECT_WEIGHT = 3.0
ENCODE_CHUNK, TEXT_CHUNK = 256, 4096
EARLY_CARELESS, LATE_CARELESS, LATE_FROM = 0.1, 0.5, 0.5


@dataclass
class EncodedClips:
    """Normalised latents (n, f, h, w, c) and the loss's weights (n, f, h, w, 1), in bf16 on the device."""

    latents: Tensor
    weights: Tensor


@torch.no_grad()
def encode_clips(vae: AutoencoderKLLTXVideo, labels: Tensor, *, seed: int) -> EncodedClips:
    """Render and encode the labelled clips; sets the VAE's latent mean and standard deviation (one for all channels)."""
    device = vae.device
    generator = torch.Generator(device).manual_seed(seed)
    latents, coverages = [], []
    for rows in labels.long().split(ENCODE_CHUNK):
        clips, coverage = render_with_coverage(rows.to(device), generator, world=WORLD_64, chunk=ENCODE_CHUNK)
        with bf16(device):
            found = vae.encode(clips.transpose(1, 2)).latent_dist.mode()
        latents.append(found.float().movedim(1, -1).to(torch.bfloat16))
        coverages.append(_tokens_covered(coverage.transpose(1, 2)))
    values = torch.cat(latents)
    mean = torch.stack([part.float().mean((0, 1, 2, 3)) for part in values.split(4096)]).mean(0)
    spread = torch.stack([(part.float() - mean).square().mean((0, 1, 2, 3)) for part in values.split(4096)]).mean(0)
    vae.latents_mean.copy_(mean)
    vae.latents_std.fill_(spread[:LIVE_CHANNELS].mean().sqrt().item())
    log.info("latents: standard deviations of channels from %.2f to %.2f", *(spread[:LIVE_CHANNELS].sqrt().aminmax()))
    weights = 1 + SUBJECT_WEIGHT * torch.cat(coverages)
    values = torch.cat([((part.float() - mean) / vae.latents_std).to(torch.bfloat16) for part in values.split(4096)])
    return EncodedClips(values, (weights / weights.mean()).to(torch.bfloat16))


def _tokens_covered(coverage: Tensor) -> Tensor:
    """How much of each token the subjects cover: (n, 1, t, h, w) of pixels -> (n, f, h, w, 1); the first frame stands alone."""
    spatial = F.avg_pool3d(coverage, (1, SPATIAL_RATIO, SPATIAL_RATIO))
    rest = F.avg_pool3d(spatial[:, :, 1:], (TEMPORAL_RATIO, 1, 1))
    return torch.cat([spatial[:, :, :1], rest], 2).movedim(1, -1)


def draw_noise_levels(count: int, device: torch.device) -> Tensor:
    """Stratified in (0, 1): a third even, a third around the middle, a third near 1, where text alone says what goes where."""
    place = torch.arange(count, device=device)
    even = (place + torch.rand(count, device=device)) / count
    middle = torch.special.ndtr(torch.special.ndtri(even.clamp(1e-4, 1 - 1e-4)) * 0.8 + 0.4)
    end = 0.85 + 0.15 * even
    return torch.stack([even, middle, end]).gather(0, (place % 3)[None])[0].clamp(1e-3, 1.0)


@dataclass
class Captions:
    """The frozen text encoder's states of all captions, (n, captions, t, c) in bf16, and which count, (n, captions, t)."""

    states: Tensor
    said: Tensor
    unsaid: tuple[Tensor, Tensor]
    """The same of the empty caption: (t, c) and (t,)."""


@torch.no_grad()
def encode_captions(text_encoder: T5EncoderModel, tokens: Tensor) -> Captions:
    """tokens (n, captions, t) -> `Captions`; the encoder also sees the padding that the pipeline feeds it."""
    device, length = tokens.device, tokens.shape[-1]
    empty = torch.tensor([[END] + [PAD] * (length - 1)], dtype=tokens.dtype, device=device)

    def states_of(rows: Tensor) -> Tensor:
        with bf16(device):
            return text_encoder(padded(rows))[0][:, :length].to(torch.bfloat16)

    states = torch.cat([states_of(rows) for rows in tokens.flatten(0, 1).split(TEXT_CHUNK)])
    unsaid = (states_of(empty)[0], (empty != PAD)[0])
    return Captions(states.view(*tokens.shape, -1), tokens != PAD, unsaid)


def careless_share(done: float) -> float:
    """The share of captions that may name a subject which is not there: small until the words' meaning is learned."""
    return EARLY_CARELESS if done < LATE_FROM else LATE_CARELESS


class _CaptionDraw:
    """Draws a caption for every row: its states and which of them count."""

    def __init__(self, captions: Captions, dropout: float) -> None:
        self.captions, self.dropout = captions, dropout
        self.truthful = captions.states.shape[1] // 2
        self.careless = torch.zeros((), device=captions.states.device)

    def on_step(self, done: float) -> None:
        self.careless.fill_(careless_share(done))

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        count, device = len(rows), rows.device
        chance = torch.rand(2, count, device=device)
        slot = torch.randint(0, self.truthful, (count,), device=device) + self.truthful * (chance[0] < self.careless)
        silent, (nothing, end) = (chance[1] < self.dropout)[:, None], self.captions.unsaid
        states = torch.where(silent[..., None], nothing, self.captions.states[rows, slot])
        return states, torch.where(silent, end, self.captions.said[rows, slot])


def train_denoiser(
    transformer: LTXVideoTransformer3DModel,
    captions: Captions,
    clips: EncodedClips,
    *,
    seconds: float,
    batch_size: int = 256,
    caption_dropout: float = 0.12,
    mode: Mode = "eager",
    state: Path | None = None,
    on_state: Callable[[], None] | None = None,
) -> None:
    """Train in place; the weights left behind are the moving average.

    With probability `caption_dropout` a clip is shown with the empty caption, as guidance needs it. On a GPU `mode` makes
    a step one CUDA graph, and compiles its blocks.
    """
    device, (count, frames, height, width, channels) = clips.latents.device, clips.latents.shape
    trainable(transformer)
    if mode == "compiled":
        for block in transformer.transformer_blocks:
            block.compile()
    live = torch.arange(channels, device=device) < LIVE_CHANNELS
    draw = _CaptionDraw(captions, caption_dropout)

    def compute_loss() -> Tensor:
        rows = torch.randint(0, count, (batch_size,), device=device)
        states, said = draw(rows)
        levels = draw_noise_levels(batch_size, device)
        latents = clips.latents[rows].flatten(1, 3).float()
        noise = torch.randn_like(latents)
        noisy = torch.lerp(latents, noise, levels[:, None, None]) * live
        with bf16(device):
            predicted = transformer(
                noisy,
                states,
                levels * 1000,
                said.long(),
                num_frames=frames,
                height=height,
                width=width,
                rope_interpolation_scale=ROPE_SCALE,
                return_dict=False,
            )[0]
        error = (predicted.float() - (noise - latents))[..., :LIVE_CHANNELS].square()
        return (clips.weights[rows].flatten(1, 3).float() * error).mean()

    matrices, rest = matrices_inside(transformer, outside=("proj_in.", "proj_out.", "time_embed.", "caption_projection."))
    optimizer = MuonAdam(matrices, [(rest, ADAM_RATE)], muon_rate=MUON_RATE)
    run = TimedRun(
        "denoiser", compute_loss, optimizer, seconds=seconds, average_decay=0.9995, state=state, graph=mode != "eager",
        on_state=on_state, on_step=draw.on_step,
    )  # fmt: skip
    run.run()
    transformer.eval().requires_grad_(False)
