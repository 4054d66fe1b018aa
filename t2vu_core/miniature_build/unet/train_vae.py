"""The image VAE: its encoder starts as a projection on principal components, its decoder learns to draw them.

Stride-2 convolutions fold 2 x 2 places into channels and so can hold a linear encoder exactly. A decoder of
nearest-neighbour upsampling cannot be one: it starts from the components and learns what lies between places.
"""

from __future__ import annotations

import logging
import time

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from t2vu_core.miniature.world import NUM_FRAMES, render, sample_labels
from t2vu_core.miniature_build.averaging import MovingAverage
from t2vu_core.miniature_build.optimizers import Optimizers, split, trapezoid
from t2vu_core.miniature_build.principal_components import WHITENING, components, least_squares
from t2vu_core.miniature_build.train_vae import reconstruction_loss
from t2vu_core.miniature_build.unet.architecture import GROUPS
from t2vu_core.mixed_precision import CPU, mixed_precision

log = logging.getLogger(__name__)

KL_WEIGHT = 1e-4
LOG_VARIANCE = -5.0
ENCODER_RATE = 0.03
"""Learning rate of an encoder's weight, over its number of inputs."""


@torch.no_grad()
def initialise_encoder(vae: AutoencoderKL, images_BCHW: Tensor) -> None:
    """Set a fresh VAE's encoder, in place, to a projection on the principal components of images in [-1, 1].

    Before the last convolution stand a normalisation and a bend: pairs of channels (y, -y) with a large constant
    pair in every group undo both, because silu(a) - silu(-a) = a.
    """
    encoder = vae.encoder
    for block in (module for module in vae.modules() if isinstance(module, ResnetBlock2D)):
        _set(block.conv2, torch.zeros(block.conv2.weight.shape[:2]))
        if block.conv_shortcut is not None:
            _set(block.conv_shortcut, torch.eye(*block.conv_shortcut.weight.shape[:2]))
    _set(encoder.conv_in, torch.eye(encoder.conv_in.out_channels, 3), tap=(1, 1))
    first, second = (block.downsamplers[0].conv for block in encoder.down_blocks[:2])
    _set(first, torch.zeros(first.weight.shape[:2]))
    for place in range(4):
        fold = torch.zeros(first.weight.shape[:2])
        fold[3 * place : 3 * place + 3, :3] = torch.eye(3)
        _set(first, fold, tap=divmod(place, 2), keep=True)

    folded = F.pixel_unshuffle(images_BCHW, 2).unflatten(1, (3, 4)).transpose(1, 2).flatten(1, 2)
    patches = F.unfold(folded, 2, stride=2).transpose(1, 2).flatten(0, 1)
    per_group = second.out_channels // GROUPS
    pairs = (per_group - 2) // 2
    mean, basis, deviations = components(patches, GROUPS * pairs)
    weight, bias = _paired(mean, basis, pairs, per_group, patches)
    _set(second, torch.zeros(second.weight.shape[:2]))
    for place, part in enumerate(weight.unflatten(1, (-1, 4)).unbind(2)):
        full = torch.zeros(second.weight.shape[:2])
        full[:, : part.shape[1]] = part
        _set(second, full, tap=divmod(place, 2), keep=True)
    second.bias.copy_(bias)

    count = vae.config.latent_channels
    wanted = ((patches - mean) @ basis[:, :count]) / deviations[:count] ** WHITENING
    wanted = wanted / wanted.std()
    seen: list[Tensor] = []
    handle = encoder.conv_out.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    encoder(images_BCHW)
    handle.remove()
    weight, bias = least_squares(seen[0].movedim(1, -1).flatten(0, -2), wanted)
    _set(encoder.conv_out, torch.cat([weight, torch.zeros_like(weight)]), tap=(1, 1))
    encoder.conv_out.bias.copy_(torch.cat([bias, torch.full((count,), LOG_VARIANCE)]))


def _paired(mean: Tensor, basis: Tensor, pairs: int, per_group: int, patches: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (y, -y) for each component and a pair of constants, group by group: weight (GROUPS * per_group, d) and bias."""
    spread = 3.0 * ((patches - mean) @ basis).square().sum(1).mean().sqrt() / GROUPS**0.5
    weight, bias = torch.zeros(GROUPS, per_group, len(mean)), torch.zeros(GROUPS, per_group)
    for group, part in enumerate(basis.T.split(pairs)):
        signed = torch.cat([part, -part])
        weight[group, : len(signed)] = signed
        bias[group, : len(signed)] = -signed @ mean
        bias[group, -2:] = torch.stack([spread, -spread])
    return weight.flatten(0, 1), bias.flatten()


def _set(conv: nn.Conv2d, matrix: Tensor, *, tap: tuple[int, int] = (0, 0), keep: bool = False) -> None:
    """Make a convolution the matrix (out, in) at one place of its kernel; `keep` leaves the other places."""
    if not keep:
        for parameter in conv.parameters():
            parameter.zero_()
    conv.weight[:, :, tap[0], tap[1]] = matrix


def sample_frames(count: int, generator: torch.Generator, *, distractors: float = 0.05) -> Tensor:
    """Single frames of the world in [-1, 1], one of each clip: (count, 3, 32, 32)."""
    parts = []
    for rows in sample_labels(count, generator, distractors=distractors).split(64):
        clips = render(rows, generator)
        parts.append(clips[torch.arange(len(rows)), torch.randint(0, NUM_FRAMES, (len(rows),), generator=generator)])
    return torch.cat(parts)


def train_vae(vae: AutoencoderKL, *, minutes: float, seed: int, batch_size: int = 32, num_frames: int = 6000) -> None:
    """Train in place for a time budget; the weights left behind are the moving average."""
    generator = torch.Generator().manual_seed(seed)
    pool = sample_frames(num_frames, generator).to(torch.bfloat16)
    matrices, rest = split(vae.decoder, first_and_last=("conv_out.",))
    # Equal steps on thousands of inputs would add up and wreck the encoder's linear start.
    encoder = [{"params": [weight], "lr": ENCODER_RATE / max(64, weight[0].numel())} for weight in vae.encoder.parameters()]
    optimizers = Optimizers(matrices, [{"params": rest, "lr": 1e-3}, *encoder])
    average = MovingAverage(vae.parameters(), decay=0.995)
    start, step = time.monotonic(), 0
    while (done := (time.monotonic() - start) / (60 * minutes)) < 1:
        pixels = pool[torch.randint(0, len(pool), (batch_size,), generator=generator)].float()
        with mixed_precision(CPU):
            posterior = vae.encode(pixels).latent_dist
            drawn = vae.decode(posterior.sample(generator)).sample
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss = reconstruction_loss(pixels, drawn.float()) + KL_WEIGHT * divergence
        optimizers.step(loss, factor=trapezoid(step, done, warm_up=30, flat=0.3))
        average.update()
        if step % 50 == 0:
            spent = time.monotonic() - start
            log.info("vae step %d: loss %.4f, %.0f s, %.0f ms a step", step, loss.item(), spent, 1000 * spent / (step + 1))
        step += 1
    average.copy_to_parameters()
    log.info("vae: %d steps", step)


@torch.no_grad()
def reconstruction_error(vae: AutoencoderKL, images_BCHW: Tensor) -> float:
    """Mean squared error of encoding and decoding, pixels in [-1, 1]."""
    drawn = vae.decode(vae.encode(images_BCHW).latent_dist.mode()).sample
    return (drawn - images_BCHW).square().mean().item()
