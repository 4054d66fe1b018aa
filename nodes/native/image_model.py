"""A Stable Diffusion checkpoint of ComfyUI as an image model: its MODEL gives the gradient, its CLIP unlearns.

Latents are (B, C, h, w) as the network takes them, predictions are the network's own output, and timesteps are noise levels.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.samplers
import torch
from torch import Tensor, nn

from t2vu_core import UserError
from t2vu_core.families.text import Text
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.mixed_precision import mixed_precision
from t2vu_core.sampling import Guided, SamplingRequest, denoise, seeded_noise

from .denoiser import NativeDenoiser
from .digest import digest
from .encoder import on_layers_of
from .lock import LOCK
from .origin import folder_of, name_of
from .schedule import Schedule
from .text import NativeText
from .words import encoder_name

SCHEDULER = "simple"
USUAL = 512
"""Height and width of Stable Diffusion's images."""


@dataclass(frozen=True)
class ImageSettings:
    """How the graph samples images."""

    height: int
    width: int
    num_inference_steps: int
    guidance_scale: float


class NativeImageModel:
    """MODEL, CLIP and VAE as an image model. None of them is changed."""

    def __init__(self, model: Any, clip: Any, vae: Any, settings: ImageSettings) -> None:
        """Raises UserError for a MODEL of videos, and for a text encoder that is not known."""
        latents = model.model.latent_format
        if latents.latent_dimensions != 2:
            raise UserError(
                "This MODEL makes videos. For its text encoder, use T2V Model from ComfyUI and connect that to model."
            )
        self._vae, self._settings, self._channels = vae, settings, latents.latent_channels
        self._denoiser, self.lock = NativeDenoiser(model, {}), LOCK
        try:
            self._text = NativeText(clip)
        except LookupError as error:
            raise UserError(f"This CLIP cannot be used: {error}.") from error
        self._length: int = getattr(clip.tokenizer, encoder_name(clip.tokenizer)).max_length
        self.name, self.folder = name_of(model), folder_of(model)
        self.check_size(settings.height, settings.width)

    name: str
    folder: Path | None

    @property
    def text(self) -> Text:
        """The text encoder and its tokenizer."""
        return self._text.text

    @property
    def denoiser(self) -> nn.Module:
        """ComfyUI's UNet."""
        return self._denoiser.network

    @property
    def device(self) -> torch.device:
        return self._denoiser.device

    @property
    def dtype(self) -> torch.dtype:
        return self._denoiser.dtype

    def mixed_precision(self) -> contextlib.AbstractContextManager[object]:
        """ComfyUI casts all weights to the precision that it computes in."""
        return mixed_precision(self.device, float32=self.dtype == torch.float32)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self._settings.height, self._settings.width

    @property
    def guidance_scale(self) -> float:
        """The default guidance scale."""
        return self._settings.guidance_scale

    @property
    def num_inference_steps(self) -> int:
        """The default number of steps."""
        return self._settings.num_inference_steps

    def describe(self) -> dict[str, Any]:
        """What else than the encoder's weights defines a training run through it."""
        sigmas = self.make_scheduler(self.num_inference_steps).sigmas.tolist()
        changes = [self._denoiser.changes(), self._text.describe(), on_layers_of(self._text.clip)]
        return {
            "size": list(self.size),
            "guidance_scale": self.guidance_scale,
            "sigmas": sigmas,
            "dtype": str(self._denoiser.dtype),
            "changes": digest(changes),
        }

    def check_size(self, height: int, width: int) -> None:
        """Raise UserError unless the VAE can make images of that size."""
        ratio = self._vae.spacial_compression_decode()
        if height % ratio or width % ratio or min(height, width) < ratio:
            raise UserError(f"{self.name} cannot take {width} x {height} pixels: both must be multiples of {ratio}.")

    def encode(self, prompts: Sequence[str]) -> TextCondition:
        """Encode prompts as diffusers does; gradients reach what is trained on the encoder, if they are enabled.

        ComfyUI encodes long prompts in pieces, one after the other: only the first one is taken, as diffusers cuts them.
        """
        with torch.inference_mode(False):
            encode = self._text.encode_with_gradients if torch.is_grad_enabled() else self._text.encode
            whole = encode(prompts)
            cut = dataclasses.replace(whole, embeds_BSD=whole.embeds_BSD[:, : self._length], mask_BS=None)
            return cut.to(self.device)

    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition) -> Tensor:
        """One pass of the denoiser, (B, C, h, w) float32."""
        return self._denoiser.predict(latents, timesteps_B, condition)

    def make_scheduler(self, num_inference_steps: int) -> Schedule:
        """The noise levels of KSampler's scheduler simple."""
        sampling = self._denoiser.sampling
        sigmas = comfy.samplers.calculate_sigmas(sampling, SCHEDULER, num_inference_steps)
        return Schedule(sigmas.to(self.device, torch.float32), sampling)

    @contextlib.contextmanager
    def gradient_checkpointing(self) -> Iterator[None]:
        """Inside this context, the UNet's blocks compute again in the backward pass."""
        with self._denoiser.gradient_checkpointing():
            yield

    @torch.no_grad()
    def latents_of(self, images: Tensor) -> Tensor:
        """Latents, as the network takes them, of images (B, 3, H, W) in [0, 1]."""
        self.check_size(images.shape[-2], images.shape[-1])
        encoded = self._vae.encode(images.movedim(1, -1).cpu())
        latents: Tensor = self._denoiser.patcher.model.process_latent_in(encoded)
        return latents.to(self.device, torch.float32)

    @torch.no_grad()
    def sample(
        self,
        prompts: str | Sequence[str],
        *,
        seeds: int | Sequence[int] = 0,
        num_inference_steps: int | None = None,
        height: int | None = None,
        width: int | None = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """One image per prompt, (B, 3, H, W) in [0, 1] on the CPU, with KSampler's euler. Each image has its own seed."""
        asked = SamplingRequest.checked(prompts, seeds, num_inference_steps, None, usual=self)
        height, width = height or self.size[0], width or self.size[1]
        self.check_size(height, width)
        with self.lock:
            condition = self.encode(asked.prompts)
            empty = self.encode([""]).expand(len(asked.prompts)) if asked.guidance_scale > 1 else None
            ratio = self._vae.spacial_compression_decode()
            latents = seeded_noise((self._channels, height // ratio, width // ratio), asked.seeds, self.device)
            predict = Guided(self.predict, condition, empty, asked.guidance_scale)
            told = None if on_step is None else lambda step, total, _: on_step(step, total)
            schedule = self.make_scheduler(asked.num_inference_steps)
            latents = denoise(schedule, latents, predict, step=Schedule.step, on_step=told)
            images: Tensor = self._vae.decode(self._denoiser.patcher.model.process_latent_out(latents.cpu()))
            return images.movedim(-1, 1).float().clamp(0, 1).cpu()


def image_model_from_comfyui(
    model: Any, clip: Any, vae: Any, settings: ImageSettings, latent: Mapping[str, Any] | None = None
) -> NativeImageModel:
    """A height or width of 0 comes from the empty `latent`, or is 512 without one.

    Raises UserError if a part cannot be used.
    """
    height, width = USUAL, USUAL
    if latent is not None:
        if latent["samples"].dim() != 4:
            raise UserError("The latent is not one of images: connect an Empty Latent Image.")
        ratio = vae.spacial_compression_decode()
        height, width = (length * ratio for length in latent["samples"].shape[-2:])
    asked = dataclasses.replace(settings, height=settings.height or height, width=settings.width or width)
    return NativeImageModel(model, clip, vae, asked)


def shots_of(model: NativeImageModel) -> str:
    """What an image model of this kind is, in a line."""
    height, width = model.size
    return f"{model.name}: computes in {str(model.dtype).removeprefix('torch.')}, shots of {width} x {height}"
