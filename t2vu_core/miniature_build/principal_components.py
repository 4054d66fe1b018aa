"""A head start for the VAE: before any training it is a linear autoencoder on principal components.

Every convolution is set to act on its own position, every residual branch to zero. The network
normalises and bends its channels before each last convolution; pairs of channels (y, -y) with a
large constant undo that, because silu(a) - silu(-a) = a. Training from here saves most of an hour
on two cores.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import AutoencoderKLLTXVideo
from diffusers.models.autoencoders.autoencoder_kl_ltx import LTXVideoCausalConv3d
from torch import Tensor, nn

WHITENING = 0.5
"""Latents are components divided by their standard deviation to this power: 0 keeps energy, 1 makes all equal."""


@torch.no_grad()
def initialise_linearly(vae: AutoencoderKLLTXVideo, clips_BFCHW: Tensor) -> None:
    """Set a fresh VAE's weights, in place, from the principal components of some clips in [-1, 1]."""
    encoder, decoder = vae.encoder, vae.decoder
    _silence_branches(vae)
    pixels = clips_BFCHW.transpose(1, 2)
    latent_channels = vae.config.latent_channels

    patches = _input_of(encoder.conv_in.conv, lambda: encoder(pixels))[:, :, 2:]  # two frames of causal padding
    pairs = (encoder.conv_in.conv.out_channels - 1) // 2
    mean, basis, _ = components(_rows(patches), pairs)
    constant = torch.full((encoder.conv_in.conv.out_channels,), 0.0)
    spread = ((_rows(patches) - mean) @ basis).square().sum(1).mean().sqrt()
    constant[2 * pairs :] = 3.0 * spread
    signed = torch.cat([basis.T, -basis.T, torch.zeros(len(constant) - 2 * pairs, len(mean))])
    _set_pointwise(encoder.conv_in, signed, constant - signed @ mean)

    folded = _input_of(encoder.norm_out, lambda: encoder(pixels))
    features = folded.flatten(0, -2)
    mean, basis, deviations = components(features, latent_channels)
    wanted = (features - mean) @ basis / deviations**WHITENING
    wanted = wanted / wanted.std()
    bent = _input_of(encoder.conv_out.conv, lambda: encoder(pixels))[:, :, 2:]
    weight, bias = least_squares(_rows(bent), wanted)
    log_variance = -5.0
    weight = torch.cat([weight, torch.zeros(1, weight.shape[1])])
    _set_pointwise(encoder.conv_out, weight, torch.cat([bias, torch.tensor([log_variance])]))

    latents = vae.encode(pixels).latent_dist.mode()
    _set_pointwise(decoder.conv_in, *least_squares(_rows(latents), features))
    bent = _input_of(decoder.conv_out.conv, lambda: decoder(latents))[:, :, 1:-1]
    _set_pointwise(decoder.conv_out, *least_squares(_rows(bent), _rows(patches)))


def _silence_branches(vae: AutoencoderKLLTXVideo) -> None:
    for name, module in vae.named_modules():
        if name.endswith(("conv2.conv", "downsamplers.0.conv.conv", "upsamplers.0.conv.conv")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)


def _input_of(module: nn.Module, run: Callable[[], object]) -> Tensor:
    """What a module is given while `run()` computes."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        run()
    finally:
        handle.remove()
    return seen[0]


def _rows(volume_BCTHW: Tensor) -> Tensor:
    return volume_BCTHW.movedim(1, -1).flatten(0, -2)


def components(rows: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (d,), the first principal directions (d, count) and the standard deviations along them (count,)."""
    mean = rows.mean(0)
    values, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    return mean, vectors[:, -count:].flip(1), values[-count:].flip(0).clamp(min=1e-8).sqrt()


def least_squares(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (out, in) and bias of the linear map that fits best, slightly damped."""
    mean_in, mean_out = inputs.mean(0), outputs.mean(0)
    centred = (inputs - mean_in).double()
    covariance = centred.T @ centred / len(inputs)
    damping = 1e-6 * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.double)
    weight = torch.linalg.solve(covariance + damping, centred.T @ (outputs - mean_out).double() / len(inputs)).T.float()
    return weight, mean_out - weight @ mean_in


def _set_pointwise(conv: LTXVideoCausalConv3d, weight: Tensor, bias: Tensor) -> None:
    """Make a 3 x 3 x 3 convolution a linear map of its own position: the last tap in time when causal."""
    conv, tap = conv.conv, 2 if conv.is_causal else 1
    conv.weight.zero_()
    conv.weight[:, :, tap, 1, 1] = weight
    conv.bias.copy_(bias)
