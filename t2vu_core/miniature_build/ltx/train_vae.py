"""Training of the video VAE on renders that lie on the device."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import torch
from diffusers import AutoencoderKLLTXVideo
from torch import Tensor

from t2vu_core.miniature.world import render, sample_labels
from t2vu_core.miniature.worlds import WORLD_64
from t2vu_core.miniature_build.ltx.architecture import LATENT_CHANNELS, LIVE_CHANNELS
from t2vu_core.miniature_build.ltx.device import bf16
from t2vu_core.miniature_build.ltx.optimizer import MuonAdam, matrices_inside
from t2vu_core.miniature_build.ltx.timed_run import TimedRun, trainable
from t2vu_core.miniature_build.train_vae import KL_WEIGHT, reconstruction_loss

log = logging.getLogger(__name__)

MUON_RATE, ADAM_RATE = 2e-2, 1e-3
RENDER_CHUNK = 256
LADDER = (16, 32, 48)
"""Half of the clips are decoded from so many leading channels, so that these learn what matters most (as in DC-AE 1.5)."""


def draw_clips(count: int, device: torch.device, *, seed: int, distractors: float = 0.05) -> Tensor:
    """Renders (n, 3, t, h, w) in bf16 on the device, in [-1, 1]."""
    generator = torch.Generator(device).manual_seed(seed)
    labels = sample_labels(count, generator, distractors=distractors, world=WORLD_64)
    parts = [
        render(rows, generator, world=WORLD_64, chunk=RENDER_CHUNK).transpose(1, 2).to(torch.bfloat16)
        for rows in labels.split(4 * RENDER_CHUNK)
    ]
    return torch.cat(parts)


def train_vae(
    vae: AutoencoderKLLTXVideo,
    *,
    seconds: float,
    seed: int,
    pool_size: int = 30_000,
    batch_size: int = 128,
    graph: bool = False,
    state: Path | None = None,
) -> None:
    """Train in place, on the device where it lies; the weights left behind are the moving average."""
    device = vae.device
    trainable(vae)
    pool = draw_clips(pool_size, device, seed=seed + 3)
    log.info("vae: %d clips drawn", pool_size)
    channels_last = device.type == "cuda"
    if channels_last:
        vae.to(memory_format=torch.channels_last_3d)

    kept = (
        torch.arange(LATENT_CHANNELS, device=device)
        < torch.tensor((*LADDER, *[LIVE_CHANNELS] * len(LADDER)), device=device)[:, None]
    )

    def compute_loss() -> Tensor:
        pixels = pool[torch.randint(0, pool_size, (batch_size,), device=device)].float()
        if channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last_3d)
        with bf16(device):
            posterior = vae.encode(pixels).latent_dist
            mean, logvar = posterior.mean.float(), posterior.logvar.float()
            channels = kept[torch.randint(0, len(kept), (batch_size,), device=device)][..., None, None, None]
            drawn = vae.decode((mean + (0.5 * logvar).exp() * torch.randn_like(mean)) * channels).sample
        live = mean[:, :LIVE_CHANNELS]
        divergence = 0.5 * (live.square() + logvar[:, :LIVE_CHANNELS].exp() - 1 - logvar[:, :LIVE_CHANNELS]).mean()
        return reconstruction_loss(pixels, drawn.float()) + KL_WEIGHT * divergence

    matrices, rest = matrices_inside(vae, outside=("encoder.conv_in.", "decoder.conv_out."))
    optimizer = MuonAdam(matrices, [(rest, ADAM_RATE)], muon_rate=MUON_RATE)
    TimedRun("vae", compute_loss, optimizer, seconds=seconds, average_decay=0.998, state=state, graph=graph).run()
    vae.to(memory_format=torch.contiguous_format).eval().requires_grad_(False)
    silence_channels(vae)


@torch.no_grad()
def silence_channels(vae: AutoencoderKLLTXVideo) -> None:
    """Make the encoder write nothing into the channels that carry nothing, and the decoder ignore them."""
    written = vae.encoder.conv_out.conv
    written.weight[LIVE_CHANNELS:LATENT_CHANNELS].zero_()
    written.bias[LIVE_CHANNELS:LATENT_CHANNELS].zero_()
    vae.decoder.conv_in.conv.weight[:, LIVE_CHANNELS:].zero_()


@torch.no_grad()
def peak_signal_to_noise(vae: AutoencoderKLLTXVideo, clips: Tensor) -> float:
    """Of encoding and decoding clips (n, 3, t, h, w) in [-1, 1], in dB."""
    errors = [
        (vae.decode(vae.encode(part.float()).latent_dist.mode()).sample - part.float()).square().mean() * len(part)
        for part in clips.split(32)
    ]
    return 10 * math.log10(4 / (torch.stack(errors).sum().item() / len(clips)))
