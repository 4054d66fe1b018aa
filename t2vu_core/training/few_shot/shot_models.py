"""The frozen denoiser that gives a text encoder its gradient: an image model, or the video model on one frame.

Shapes: B shots, F frames; shots are clips (B, F, 3, H, W) in [0, 1], of one frame for an image model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from t2vu_core.families.text import Text
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.families.unet import checkpointed
from t2vu_core.model import T2VModel
from t2vu_core.sampling import denoise, guided, noise
from t2vu_core.text_encoders import encoder_layers

NOISE_LEVELS = 50
"""Timesteps of the scheduler, from which a shot's noise level is drawn."""
CHECKPOINT_FROM = 200_000_000
"""Denoisers and text encoders with more weights than this use gradient checkpointing."""
OnStep = Callable[[int, int], None]
"""Called after every denoising step with its number, from 1 on, and the total."""


class ShotModel(Protocol):
    """What few-shot unlearning needs of a denoiser. It is never changed."""

    name: str
    text: Text

    @property
    def device(self) -> torch.device: ...
    @property
    def num_frames(self) -> int: ...
    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width of a shot."""
        ...

    def encode(self, prompts: Sequence[str]) -> TextCondition:
        """Encoded prompts, with gradients if something on the encoder is trained."""
        ...

    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition) -> Tensor: ...
    def latents_of(self, shots: Tensor) -> Tensor: ...
    def scheduler(self) -> Any:
        """The model's scheduler with `NOISE_LEVELS` timesteps."""
        ...

    def mixed_precision(self) -> contextlib.AbstractContextManager[object]: ...
    def sample(self, prompts: Sequence[str], seeds: Sequence[int], steps: int, on_step: OnStep | None = None) -> Tensor:
        """Shots of the prompts; `steps` 0 is the model's default. An exception from `on_step` stops the sampling."""
        ...

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Within, the model is locked, and its large parts use gradient checkpointing."""
        ...


class AnyImageModel(Protocol):
    """An image model as `ImageShots` needs it: `ImageModel`, or one that another library has loaded."""

    @property
    def name(self) -> str: ...
    @property
    def text(self) -> Text: ...
    @property
    def folder(self) -> Path | None:
        """Where its own prompt set is, if it has one."""
        ...

    @property
    def lock(self) -> contextlib.AbstractContextManager[Any]: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def num_inference_steps(self) -> int: ...
    @property
    def denoiser(self) -> nn.Module: ...
    def describe(self) -> dict[str, Any]:
        """What else than the weights defines a training run through it, as JSON values."""
        ...

    def check_size(self, height: int, width: int) -> None: ...
    def encode(self, prompts: Sequence[str]) -> TextCondition: ...
    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition) -> Tensor: ...
    def latents_of(self, images: Tensor) -> Tensor: ...
    def make_scheduler(self, num_inference_steps: int) -> Any: ...
    def sample(
        self,
        prompts: str | Sequence[str],
        *,
        seeds: int | Sequence[int] = 0,
        num_inference_steps: int | None = None,
        height: int | None = None,
        width: int | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor: ...
    def gradient_checkpointing(self) -> contextlib.AbstractContextManager[None]: ...
    def mixed_precision(self) -> contextlib.AbstractContextManager[object]: ...


class ImageShots:
    """An image model's shots: clips of one frame."""

    num_frames = 1

    def __init__(self, image_model: AnyImageModel, height: int = 0, width: int = 0) -> None:
        self.name, self.text, self._model = image_model.name, image_model.text, image_model
        self._pixels = height or image_model.size[0], width or image_model.size[1]
        image_model.check_size(*self._pixels)

    @property
    def device(self) -> torch.device:
        return self._model.device

    @property
    def pixels(self) -> tuple[int, int]:
        return self._pixels

    def encode(self, prompts: Sequence[str]) -> TextCondition:
        return self._model.encode(prompts)

    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition) -> Tensor:
        return self._model.predict(latents, timesteps_B, condition)

    def latents_of(self, shots: Tensor) -> Tensor:
        return torch.cat([self._model.latents_of(shot) for shot in shots])

    def scheduler(self) -> Any:
        return self._model.make_scheduler(NOISE_LEVELS)

    def mixed_precision(self) -> contextlib.AbstractContextManager[object]:
        return self._model.mixed_precision()

    def sample(self, prompts: Sequence[str], seeds: Sequence[int], steps: int, on_step: OnStep | None = None) -> Tensor:
        height, width = self._pixels
        images = self._model.sample(
            list(prompts), seeds=list(seeds), num_inference_steps=steps or None, height=height, width=width, on_step=on_step
        )
        return images[:, None]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        large = _is_large(self._model.denoiser)
        denoising = self._model.gradient_checkpointing() if large else contextlib.nullcontext()
        with self._model.lock, denoising, _large_encoders_checkpointed(self.text):
            yield


class VideoShots:
    """The video model itself, on clips of one frame or a few: for models whose encoder no image model shares."""

    def __init__(self, model: T2VModel, num_frames: int = 1, height: int = 0, width: int = 0) -> None:
        self.name, self.text, self._family, self._model = model.name, model.family.text, model.family, model
        self._size = model.clip_size(num_frames, height, width)

    @property
    def device(self) -> torch.device:
        return self._family.device

    @property
    def num_frames(self) -> int:
        return self._size.num_frames

    @property
    def pixels(self) -> tuple[int, int]:
        return self._size.height, self._size.width

    def encode(self, prompts: Sequence[str]) -> TextCondition:
        return self._family.encode_with_gradients(prompts)

    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition) -> Tensor:
        return self._family.predict(latents, timesteps_B, condition, self._size)

    def latents_of(self, shots: Tensor) -> Tensor:
        return torch.cat([self._family.latents_of(shot[None], self._size) for shot in shots])

    def scheduler(self) -> Any:
        return self._family.make_scheduler(NOISE_LEVELS, self._size)

    def mixed_precision(self) -> contextlib.AbstractContextManager[object]:
        return self._family.mixed_precision()

    @torch.no_grad()
    def sample(self, prompts: Sequence[str], seeds: Sequence[int], steps: int, on_step: OnStep | None = None) -> Tensor:
        family, defaults = self._family, self._family.defaults
        scale, told = defaults.guidance_scale, None if on_step is None else lambda step, total, _: on_step(step, total)
        condition = family.encode(prompts)
        empty = family.encode([""]).expand(len(prompts)) if scale > 1 else None
        scheduler = family.make_scheduler(steps or defaults.num_inference_steps, self._size)
        predict = guided(family, self._size, condition, empty, scale)
        latents = denoise(scheduler, noise(family, self._size, seeds), predict, step=family.step, on_step=told)
        return family.decode_or_tile(latents, self._size)[:, : self.num_frames].cpu()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        large = any(_is_large(denoiser) for denoiser in self._family.denoisers.values())
        denoising = self._family.gradient_checkpointing() if large else contextlib.nullcontext()
        with self._model.lock, denoising, _large_encoders_checkpointed(self.text):
            yield


@contextlib.contextmanager
def _large_encoders_checkpointed(text: Text) -> Iterator[None]:
    """Within, each layer of a large text encoder is computed again in the backward pass.

    The key-value cache of decoder-only encoders is off: the second pass would read the entries of the first.
    """
    encoders = [encoder for encoder in text.encoders.values() if _is_large(encoder)]
    # The encoders of other libraries have no configuration of this kind, and no cache.
    configs: list[Any] = [getattr(encoder, "config", None) for encoder in encoders]
    caching = [config for config in configs if getattr(config, "use_cache", False)]
    try:
        for config in caching:
            config.use_cache = False
        with (text.recomputed or checkpointed)(layer for encoder in encoders for layer in encoder_layers(encoder)):
            yield
    finally:
        for config in caching:
            config.use_cache = True


def _is_large(module: nn.Module) -> bool:
    return sum(parameter.numel() for parameter in module.parameters()) > CHECKPOINT_FROM
