"""ComfyUI's VAE object around a VAE of diffusers, for the miniatures whose VAE ComfyUI's own classes cannot hold.

ComfyUI fixes the number of channels per group (Stable Diffusion) and the channels at the pixel end (LTX-Video).
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import torch
from torch import Tensor, nn


class FirstStage(nn.Module):
    """Encodes and decodes as ComfyUI's own VAE classes do, without the scale that ComfyUI's latent formats apply."""

    vae: Any

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = vae

    def encode(self, pixels: Tensor) -> Tensor:
        return self.vae.encode(pixels).latent_dist.mode()

    def decode(self, latents: Tensor) -> Tensor:
        return self.vae.decode(latents).sample


class DiffusersVAE(comfy.sd.VAE):
    """A VAE of diffusers whose latents are `space` times smaller than its pixels; frames are not compressed."""

    def __init__(self, vae: Any, *, space: int, video: bool) -> None:
        with _no_complaint():
            super().__init__(sd={})
        self.latent_channels = vae.config.latent_channels
        self.latent_dim = 3 if video else 2
        self.upscale_ratio = self.downscale_ratio = (_same, space, space) if video else space
        if video:
            self.upscale_index_formula = self.downscale_index_formula = (1, space, space)
        self.memory_used_encode = self.memory_used_decode = self._memory
        self.device = comfy.model_management.vae_device()
        self.vae_dtype = comfy.model_management.vae_dtype(self.device, self.working_dtypes)
        self.output_device = comfy.model_management.intermediate_device()
        self.first_stage_model = FirstStage(vae).eval().requires_grad_(False).to(self.vae_dtype)
        offload = comfy.model_management.vae_offload_device()
        self.patcher = comfy.model_patcher.ModelPatcher(self.first_stage_model, load_device=self.device, offload_device=offload)

    @staticmethod
    def _memory(shape: tuple[int, ...], dtype: torch.dtype) -> int:
        return 4000 * torch.Size(shape[2:]).numel() * dtype.itemsize


def vae_around(vae_class: Any, folder: Path, *, space: int, video: bool) -> DiffusersVAE:
    """The VAE in a miniature's folder."""
    vae = vae_class.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    return DiffusersVAE(vae, space=space, video=video)


def _same(frames: int) -> int:
    return frames


@contextlib.contextmanager
def _no_complaint() -> Iterator[None]:
    """Hold back ComfyUI's warning that there are no weights: they come after."""

    def held(record: logging.LogRecord) -> bool:
        return "No VAE weights" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(held)
    try:
        yield
    finally:
        root.removeFilter(held)
