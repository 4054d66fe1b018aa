"""A Family over ComfyUI's MODEL, CLIP and VAE: t2vu_core trains, samples and measures on it as on a diffusers folder.

Latents are (B, C, F, H, W) as ComfyUI's network takes them, predictions are the network's own output, and timesteps are
sigmas. Everything but the places of erasers is asked of ComfyUI.
"""

import contextlib
import copy
import dataclasses
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import comfy.samplers
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from t2vu_core import UserError
from t2vu_core.families.base import Family, MaskLayers
from t2vu_core.families.clip_size import ClipSize, SamplingDefaults
from t2vu_core.families.eraser_site import EraserSite
from t2vu_core.families.text import Text
from t2vu_core.families.text_attention import TextAttention
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.mixed_precision import mixed_precision
from t2vu_core.weight_sketch import Sketch

from .denoiser import NativeDenoiser
from .digest import digest
from .encoder import on_layers_of
from .found_sites import FoundArchitecture
from .identity import base_sketch
from .loaded_weights import LoadedWeights
from .origin import name_of
from .schedule import Schedule
from .shapes import NativeShapes, shaped_clip, shaped_denoiser
from .text import NativeText, Rows

PADDED_TOKENS = 256
"""Shortest length of encoded prompts for architectures that take prompts of one length: all rows of a run fit together."""
SECOND = "transformer_2"
"""diffusers' name of the denoiser for low noise levels."""
PREFIXES = ("", f"{SECOND}.")
"""Of the names of sites and weights in each denoiser."""


@dataclass(frozen=True)
class NativeSettings:
    """How the graph samples: what ComfyUI's MODEL does not know itself."""

    defaults: SamplingDefaults
    latent_shape: tuple[int, ...]
    """Of a clip of the default size: channels, frames, rows, columns."""
    scheduler: str = "simple"
    boundary: float = 0.875
    """The noise level from which on the first of two denoisers computes."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """What the CONDITIONING holds besides the text."""
    folder: Path | None = None
    """Where the model's own prompt set is, if it has one."""


class NativeFamily(Family):
    """MODEL, CLIP and VAE as one model; with a second MODEL for low noise levels, as in Wan 2.2 A14B."""

    def __init__(self, models: Sequence[Any], clip: Any, vae: Any, settings: NativeSettings) -> None:
        """Raises UserError for an architecture or a text encoder that is not known."""
        self._settings, self._vae = settings, vae
        self._said_by_clip: dict[str, Any] = {}
        others = ChainMap(dict(settings.others), self._said_by_clip)
        self._denoisers = [NativeDenoiser(model, others) for model in models]
        architecture = self._first.architecture
        self.name = architecture.family  # type: ignore[misc]
        self.folder, self.any_rank = settings.folder, bool
        try:
            rows = Rows(PADDED_TOKENS if architecture.one_length else 0, architecture.keeps_padding)
            self._text = NativeText(clip, rows, self._said_by_clip)
        except LookupError as error:
            raise UserError(f"This CLIP cannot be used: {error}.") from error

    @property
    def _first(self) -> NativeDenoiser:
        return self._denoisers[0]

    # What it is made of.

    @property
    def text(self) -> Text:
        return self._text.text

    @property
    def denoisers(self) -> dict[str, Any]:
        return dict(zip(("transformer", SECOND), (denoiser.network for denoiser in self._denoisers), strict=False))

    def components(self) -> dict[str, nn.Module]:
        networks = {**self.denoisers, "text_encoder": self._text.clip.cond_stage_model}
        decoder = getattr(self._vae, "first_stage_model", None)
        return networks if decoder is None else {**networks, "vae": decoder}

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        for name, denoiser in zip(self.denoisers, self._denoisers, strict=True):
            yield from ((f"{name}.{key}", value) for key, value in denoiser.named_weights())
        parts = self.components()
        encoder = LoadedWeights(self._text.clip.patcher, parts["text_encoder"], prefix="")
        yield from ((f"text_encoder.{key}", encoder[key]) for key in sorted(encoder))
        if "vae" in parts:
            yield from ((f"vae.{key}", value) for key, value in sorted(parts["vae"].state_dict().items()))

    def describe(self) -> dict[str, Any]:
        settings, encoders = self._settings, on_layers_of(self._text.clip)
        return {
            "latent_shape": list(settings.latent_shape),
            "sigmas": self._schedule().sigmas.tolist(),
            "boundary": settings.boundary if len(self._denoisers) > 1 else None,
            "others": digest(settings.others),
            "patches": [digest(denoiser.changes()) for denoiser in self._denoisers],
            "text": self._text.describe(),
            **({"encoders": digest(encoders)} if encoders else {}),
        }

    @property
    def device(self) -> torch.device:
        return self._first.device

    @property
    def dtype(self) -> torch.dtype:
        return self._first.dtype

    def mixed_precision(self) -> contextlib.AbstractContextManager[object]:
        """ComfyUI casts all weights to the precision that it computes in."""
        return mixed_precision(self.device, float32=self.dtype == torch.float32)

    # Without its weights, for the memory plan.

    def shaped(self) -> NativeShapes:
        """The same classes with fake tensors; the graph's models do not change."""
        mode, twin = FakeTensorMode(allow_non_fake_inputs=True), copy.copy(self)
        # Fake tensors made in inference mode could not be used with gradients.
        with torch.inference_mode(False), mode:
            twin._denoisers = [shaped_denoiser(each) for each in self._denoisers]
            twin._text = NativeText(shaped_clip(self._text.clip), self._text.rows, self._said_by_clip)
        vars(twin).pop("_a_prompt", None)
        return NativeShapes.of(name_of(self._first.patcher), twin, mode)

    def text_condition(self, rows: int) -> TextCondition:
        """Encoded prompts of ordinary length; of the longest, for architectures that pad them and leave the padding out."""
        return self._a_prompt.expand(rows)

    @cached_property
    def _a_prompt(self) -> TextCondition:
        condition = self.encode(["a ghost"])
        if not self._first.architecture.one_length:
            return condition
        return dataclasses.replace(condition, mask_BS=None, glyph_mask_BG=None)

    # Sizes and sampling.

    @property
    def defaults(self) -> SamplingDefaults:
        return self._settings.defaults

    def check_size(self, size: ClipSize) -> None:
        """ComfyUI pads latents to whole tokens; only the VAE limits the size."""
        ratio, time = self._ratios
        if size.height % ratio or size.width % ratio or min(size.height, size.width) < ratio or size.num_frames < 1:
            raise UserError(
                f"This VAE cannot make {size.width} x {size.height} pixels: width and height must be multiples of {ratio}."
            )
        if (size.num_frames - 1) % time:
            below = (size.num_frames - 1) // time * time + 1
            raise UserError(f"This VAE cannot make {size.num_frames} frames: it makes {below} or {below + time}.")

    def latent_shape(self, size: ClipSize) -> tuple[int, ...]:
        if size == self.defaults.size:
            return self._settings.latent_shape
        ratio, time = self._ratios
        channels = self._settings.latent_shape[0]
        return (channels, (size.num_frames - 1) // time + 1, size.height // ratio, size.width // ratio)

    def token_grid(self, size: ClipSize) -> tuple[int, int, int]:
        return self._first.architecture.token_grid(self._first.network, self.latent_shape(size)[1:])

    def make_scheduler(self, num_inference_steps: int, size: ClipSize) -> Schedule:
        return self._schedule(num_inference_steps)

    def step(self, scheduler: Any, prediction: Tensor, timestep: Tensor, latents: Tensor) -> Tensor:
        following: Tensor = scheduler.step(prediction, timestep, latents)
        return following

    @property
    def _ratios(self) -> tuple[int, int]:
        """How many pixels and frames of a clip are one of its latents."""
        return compression(self._vae)

    def _schedule(self, steps: int = 0) -> Schedule:
        sampling = self._first.sampling
        count = steps or self.defaults.num_inference_steps
        sigmas = comfy.samplers.calculate_sigmas(sampling, self._settings.scheduler, count)
        return Schedule(sigmas.to(self.device, torch.float32), sampling)

    # Passes.

    def encode(self, prompts: Sequence[str]) -> TextCondition:
        with torch.inference_mode(False):
            return self._text.encode(prompts).to(self.device)

    def encode_with_gradients(self, prompts: Sequence[str]) -> TextCondition:
        return self._text.encode_with_gradients(prompts).to(self.device)

    def concept_positions(self, prompt: str, concept: str) -> list[int]:
        return self._text.words.positions(prompt, concept)

    def token_pieces(self, prompt: str) -> list[str]:
        return ["" if piece.special else piece.letters for piece in self._text.words.pieces(prompt)]

    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition, size: ClipSize) -> Tensor:
        if len(self._denoisers) == 1:
            return self._first.predict(latents, timesteps_B, condition)
        prediction = torch.empty(latents.shape, dtype=torch.float32, device=self.device)
        noisy = self._noisy(timesteps_B)
        for denoiser, chosen in zip(self._denoisers, (noisy, ~noisy), strict=True):
            rows = chosen.nonzero().flatten()
            if len(rows):
                part = denoiser.predict(latents[rows.to(latents.device)], timesteps_B[rows], condition[rows.to(self.device)])
                prediction = prediction.index_put((rows.to(self.device),), part)
        return prediction

    def passes(self, site_name: str, timesteps_B: Tensor) -> Tensor:
        if len(self._denoisers) == 1:
            return super().passes(site_name, timesteps_B)
        noisy = self._noisy(timesteps_B)
        return ~noisy if site_name.startswith(f"{SECOND}.") else noisy

    def _noisy(self, timesteps_B: Tensor) -> Tensor:
        return timesteps_B >= self._settings.boundary

    @contextlib.contextmanager
    def gradient_checkpointing(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for denoiser in self._denoisers:
                stack.enter_context(denoiser.gradient_checkpointing())
            yield

    @contextlib.contextmanager
    def offload_encoder(self) -> Iterator[None]:
        """ComfyUI moves the text encoder away when the denoiser needs the room."""
        yield

    @contextlib.contextmanager
    def encoder_here(self) -> Iterator[None]:
        """ComfyUI fetches the text encoder when it encodes."""
        yield

    @contextlib.contextmanager
    def text_attention(
        self, positions: Sequence[Sequence[int]], size: ClipSize, layers: MaskLayers = "all"
    ) -> Iterator[TextAttention]:
        if self._first.architecture.text != "apart" or self._first.architecture.one_length:
            raise UserError(
                "In this MODEL the attention to the concept's words cannot be read, which the preset paper needs: choose "
                "another preset, or set mask_source to prediction."
            )
        with super().text_attention(positions, size, layers) as watch:
            yield watch

    # Pictures.

    @torch.no_grad()
    def decode(self, latents: Tensor, size: ClipSize) -> Tensor:
        images = self._vae.decode(self._first.patcher.model.process_latent_out(latents.float().cpu()))
        if images.dim() == 4:
            images = images.unflatten(0, (len(latents), -1))
        clips: Tensor = images.movedim(-1, 2).float().clamp(0, 1)
        return clips

    @torch.no_grad()
    def latents_of(self, clips: Tensor, size: ClipSize) -> Tensor:
        encoded = [self._vae.encode(clip.movedim(1, -1).cpu()) for clip in clips]
        latents: Tensor = self._first.patcher.model.process_latent_in(torch.cat(encoded))
        return latents.to(self.device, torch.float32)

    def decode_or_tile(self, latents: Tensor, size: ClipSize) -> Tensor:
        """ComfyUI's VAE decodes in tiles by itself where memory is too small."""
        return self.decode(latents, size)

    # Erasers.

    @property
    def found(self) -> str:
        architecture = self._first.architecture
        return architecture.describe() if isinstance(architecture, FoundArchitecture) else ""

    def eraser_sites(self) -> list[EraserSite]:
        """Raises UserError if the architecture is not in the table: bottlenecks have no places in it."""
        if self.found:
            raise UserError(f"{self.found}. Set kind to lora: this model has no places for bottlenecks.")
        return [site for site in self.sites().values() if site.kind == "bottleneck"]

    def lora_sites(self) -> list[EraserSite]:
        return [site for site in self.sites().values() if site.kind == "lora"]

    def sites(self) -> dict[str, EraserSite]:
        found: dict[str, EraserSite] = {}
        for prefix, denoiser in zip(PREFIXES, self._denoisers, strict=False):
            for name, site in denoiser.sites().items():
                found[f"{prefix}{name}"] = dataclasses.replace(site, name=f"{prefix}{name}")
        return found

    @cached_property
    def base_sketch(self) -> Sketch:
        models = zip(PREFIXES, (denoiser.patcher for denoiser in self._denoisers), strict=False)
        return base_sketch(dict(models), self.base_hash) or Sketch.of(self.base_hash, self.named_base_tensors())

    def named_base_tensors(self) -> Iterator[tuple[str, Tensor]]:
        for prefix, denoiser in zip(PREFIXES, self._denoisers, strict=False):
            for name, tensor in denoiser.named_base_tensors():
                yield f"{prefix}{name}", tensor


def compression(vae: Any) -> tuple[int, int]:
    """How many pixels in each direction, and how many frames, one place of a VAE's latents stands for."""
    return vae.spacial_compression_decode(), vae.temporal_compression_decode() or 1
