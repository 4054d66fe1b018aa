"""Joint training of the denoiser and the text encoder by flow matching, on clips that lie encoded on the device."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
from torch import Tensor
from transformers import T5EncoderModel

from t2vu_core.miniature.world import render_with_coverage
from t2vu_core.miniature.worlds import WORLD_64
from t2vu_core.miniature_build.ltx.architecture import ROPE_SCALE, SPATIAL_RATIO, TEMPORAL_RATIO
from t2vu_core.miniature_build.ltx.caption_bank import END, PAD, padded
from t2vu_core.miniature_build.ltx.device import bf16
from t2vu_core.miniature_build.ltx.optimizer import MuonAdam, matrices_inside
from t2vu_core.miniature_build.ltx.timed_run import TimedRun, trainable

log = logging.getLogger(__name__)

MUON_RATE, ADAM_RATE, TEXT_RATE = 1e-2, 1e-3, 1e-4
SUBJECT_WEIGHT = 3.0
ENCODE_CHUNK = 256


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
    vae.latents_std.fill_(spread.mean().sqrt().item())
    log.info("latents: standard deviations of channels from %.2f to %.2f", *(spread.sqrt().aminmax()))
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


def train_denoiser(
    transformer: LTXVideoTransformer3DModel,
    text_encoder: T5EncoderModel,
    clips: EncodedClips,
    tokens: Tensor,
    *,
    seconds: float,
    batch_size: int = 384,
    caption_dropout: float = 0.15,
    graph: bool = False,
    state: Path | None = None,
    on_state: Callable[[], None] | None = None,
) -> None:
    """Train both in place on tokens (n, captions, t) of the clips; the weights left behind are the moving average.

    With probability `caption_dropout` a clip is shown with the empty caption, as guidance needs it.
    """
    device, (count, frames, height, width, _) = tokens.device, clips.latents.shape
    trainable(transformer, text_encoder)
    empty = torch.tensor([END] + [PAD] * (tokens.shape[-1] - 1), dtype=tokens.dtype, device=device)

    def compute_loss() -> Tensor:
        rows = torch.randint(0, count, (batch_size,), device=device)
        said = tokens[rows, torch.randint(0, tokens.shape[1], (batch_size,), device=device)]
        ids = padded(torch.where(torch.rand(batch_size, 1, device=device) < caption_dropout, empty, said))
        levels = draw_noise_levels(batch_size, device)
        latents = clips.latents[rows].flatten(1, 3).float()
        noise = torch.randn_like(latents)
        sigma = levels[:, None, None]
        with bf16(device):
            predicted = transformer(
                torch.lerp(latents, noise, sigma),
                text_encoder(ids)[0],
                levels * 1000,
                (ids != PAD).long(),
                num_frames=frames,
                height=height,
                width=width,
                rope_interpolation_scale=ROPE_SCALE,
                return_dict=False,
            )[0]
        error = (predicted.float() - (noise - latents)).square()
        return (clips.weights[rows].flatten(1, 3).float() * error).mean()

    matrices, rest = matrices_inside(transformer, outside=("proj_in.", "proj_out.", "time_embed.", "caption_projection."))
    groups = [(rest, ADAM_RATE), (list(text_encoder.parameters()), TEXT_RATE)]
    optimizer = MuonAdam(matrices, groups, muon_rate=MUON_RATE)
    run = TimedRun(
        "denoiser", compute_loss, optimizer, seconds=seconds, average_decay=0.9993, state=state, graph=graph, on_state=on_state
    )  # fmt: skip
    run.run()
    for module in (transformer, text_encoder):
        module.eval().requires_grad_(False)
