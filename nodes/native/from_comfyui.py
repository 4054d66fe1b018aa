"""A model for this pack out of a graph's MODEL, CLIP and VAE."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from t2vu_core import T2VModel, UserError
from t2vu_core.families.clip_size import ClipSize, SamplingDefaults

from .architectures import spoken
from .family import NativeFamily, NativeSettings, compression
from .lock import LOCK
from .origin import folder_of, name_of

OF_THE_TEXT = ("pooled_output", "attention_mask", "conditioning_byt5small")
"""Parts of a CONDITIONING that every prompt has of its own."""
PLAIN = (torch.Tensor, str, int, float, bool)
IMAGE = "clip_vision_output"
"""What CLIP Vision Encode gives: an object with tensors, which image-to-video models read."""


class ImageEmbeds(SimpleNamespace):
    """A copy of it."""

    def describe(self) -> dict[str, Any]:
        """Its tensors, for the hash of a training run."""
        return dict(vars(self))


@dataclass(frozen=True)
class Sampled:
    """How a graph samples."""

    steps: int
    cfg: float
    shift: float = 0.0
    """0: as the MODEL does."""
    scheduler: str = "simple"
    boundary: float = 0.875
    fps: float = 16.0


def model_from_comfyui(
    models: Sequence[Any],
    clip: Any,
    vae: Any,
    sampled: Sampled,
    *,
    latent: Mapping[str, Any] | None = None,
    pixels: tuple[int, int, int] = (0, 0, 0),
    conditioning: Any = None,
) -> T2VModel:
    """The size comes from `pixels` (frames, height, width), with zeros from the empty `latent`.

    Raises UserError if there is no size, or if a part cannot be used.
    """
    if any(model.model.latent_format.latent_dimensions != 3 for model in models):
        raise UserError(
            "This MODEL makes images. Its text encoder, which AnimateDiff shares, unlearns through Image Model from ComfyUI."
        )
    models = [_shifted(model, sampled.shift) if sampled.shift else model for model in models]
    size, shape = _size(models[0], vae, latent, pixels)
    settings = NativeSettings(
        SamplingDefaults(size, sampled.steps, sampled.cfg, max(1, round(sampled.fps))),
        shape, sampled.scheduler, sampled.boundary, _others(conditioning), folder_of(models[0]),
    )  # fmt: skip
    family = NativeFamily(models, clip, vae, settings)
    family.check_size(size)
    return T2VModel(name_of(models[0]), family, lock=LOCK)


def words_of(model: T2VModel) -> str:
    """What a model of this kind is, in a line or two."""
    family, size = model.family, model.family.defaults.size
    assert isinstance(family, NativeFamily)
    clips = f"{size.num_frames} frames of {size.width} x {size.height}"
    found = family.found
    return f"{model.name}: {spoken(family.name)}, computes in {str(family.dtype).removeprefix('torch.')}, {clips}" + (
        f".\n{found}" if found else ""
    )


def _size(
    model: Any, vae: Any, latent: Mapping[str, Any] | None, pixels: tuple[int, int, int]
) -> tuple[ClipSize, tuple[int, ...]]:
    """The clips, and the shape of their latents."""
    ratio, time = compression(vae)
    if latent is None:
        if not all(pixels):
            raise UserError("The size of the clips is not known: connect an empty latent, or set width, height and num_frames.")
        own = (0, 0, 0)
    else:
        samples = latent["samples"]
        # Latents of pictures and sound: erasers are trained on the pictures.
        pictures = samples.unbind()[0] if samples.is_nested else samples
        if pictures.dim() != 5:
            raise UserError("The latent is not one of a video: connect an empty latent video, as your KSampler gets it.")
        frames, rows, columns = pictures.shape[2:]
        own = ((frames - 1) * time + 1, rows * ratio, columns * ratio)
    size = ClipSize(*(given or from_latent for given, from_latent in zip(pixels, own, strict=True)))
    channels = model.model.latent_format.latent_channels
    return size, (channels, (size.num_frames - 1) // time + 1, size.height // ratio, size.width // ratio)


def _shifted(model: Any, shift: float) -> Any:
    """The MODEL with another shift, as ModelSamplingSD3 sets it. Raises UserError if its schedule has none."""
    sampling = copy.deepcopy(model.get_model_object("model_sampling"))
    if not hasattr(sampling, "shift"):
        raise UserError(f"The schedule of this MODEL ({type(sampling).__name__}) has no shift: set shift to 0.")
    more = {"multiplier": sampling.multiplier} if hasattr(sampling, "multiplier") else {}
    sampling.set_parameters(shift=shift, **more)
    shifted = model.clone()
    shifted.add_object_patch("model_sampling", sampling)
    return shifted


def _others(conditioning: Any) -> dict[str, Any]:
    """The parts of a CONDITIONING that are not of its text. They were made in inference mode: tensors are copied.

    Raises UserError for several conditionings in one, and for parts that training cannot repeat, such as a ControlNet.
    """
    if not conditioning:
        return {}
    if len(conditioning) > 1:
        raise UserError(
            f"The conditioning combines {len(conditioning)} conditionings, and a training run takes one: connect the "
            "one with the start image or guidance alone."
        )
    parts = {name: value for name, value in conditioning[0][1].items() if name not in OF_THE_TEXT and value is not None}
    found = {name: _image_embeds(value) if name == IMAGE else value for name, value in parts.items()}
    other = sorted(name for name, value in found.items() if name != IMAGE and not _is_plain(value))
    if other:
        raise UserError(
            f"The conditioning carries {', '.join(other)}, which a training run cannot repeat: connect a conditioning without "
            "it. The eraser works with it afterwards all the same."
        )
    return {name: value if name == IMAGE else _copied(value) for name, value in found.items()}


def _image_embeds(output: Any) -> ImageEmbeds:
    return ImageEmbeds(**{name: _copied(value) for name, value in vars(output).items() if _is_plain(value)})


def _is_plain(value: Any) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, list | tuple) else isinstance(value, PLAIN)


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value
