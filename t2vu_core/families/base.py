"""Family: the interface between the unlearning methods and one text-to-video architecture.

Shapes: B clips, S text tokens, N video tokens, D width. Latents have the batch first and otherwise the architecture's
own layout, so that a seed gives the same noise as in the stock pipeline. Decoded clips are (B, F, 3, H, W) in [0, 1].
"""

from __future__ import annotations

import abc
import contextlib
import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from t2vu_core.erasure import hash_tensors
from t2vu_core.families.clip_size import ClipSize, SamplingDefaults
from t2vu_core.families.eraser_site import EraserSite, edit_whole, is_linear
from t2vu_core.families.text import Text
from t2vu_core.families.text_attention import TextAttention, TextKeys, watched_text
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.families.tiling import decode_or_tile
from t2vu_core.memory.frozen_linears import pass_gradients
from t2vu_core.mixed_precision import all_float32, mixed_precision
from t2vu_core.model_source import ModelSource
from t2vu_core.pipelines import DTYPE, open_pipeline
from t2vu_core.quantised_weights import StoredWeight, has_quantised, stored_weights
from t2vu_core.quiet import quiet_libraries
from t2vu_core.single_files import fp8_format, load_denoisers, pipeline_class
from t2vu_core.weight_sketch import Sketch, sketch

MaskLayers = Literal["all", "middle"]
"""The layers whose attention forms a mask: all layers with an eraser, or the middle half of them."""

TEXT_ENCODER = "text_encoder"
LEAVING = (TEXT_ENCODER, "vae")
"""Components that a training run does not need at every step, by the beginning of their names."""
LORA_PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")


def projections_of(attentions: Iterable[EraserSite]) -> list[EraserSite]:
    """The sites of LoRA erasers on these attentions."""
    return [
        EraserSite(f"{site.name}.{name}", linear, cast(nn.Linear, linear).out_features, edit_whole, "lora")
        for site in attentions
        for name, linear in site.module.named_modules()
        if name in LORA_PROJECTIONS and is_linear(linear)
    ]


class Family(abc.ABC):
    """One architecture, bound to a loaded diffusers pipeline. The pipeline is never changed."""

    name: ClassVar[str]
    pipeline_classes: ClassVar[tuple[str, ...]]
    text_keys: ClassVar[TextKeys] = "alone"
    """Position of the text in the attentions of `eraser_sites`."""
    channel_axis: ClassVar[int] = 1
    """The channel axis of a batch of latents; the others are frames, rows and columns."""

    def __init__(self, pipeline: DiffusionPipeline, folder: Path | None = None) -> None:
        self.pipeline = pipeline
        self.folder = folder
        self.files: Mapping[str, Path] = {}
        """Single files of denoisers that are not from the folder, by component name."""
        self.fp8: torch.dtype | None = None
        """The format of the weights in these files if it is an 8-bit floating-point one; they are cast when they are loaded."""
        self.any_rank: Callable[[bool], bool] = bool
        """Logical OR over all processes that share sharded denoisers; this process alone by default."""

    @classmethod
    def load(cls, source: ModelSource, *, dtype: torch.dtype, device: torch.device) -> Self:
        """Load a diffusers folder, and single files if there are any. Raises UserError, naming what cannot be loaded."""
        failure = f"The model folder {source.folder} cannot be loaded"
        denoisers = load_denoisers(source, dtype=dtype, keyword=DTYPE)
        # With the general class, diffusers replaces a denoiser that the pipeline declares optional by the folder's own.
        kind = pipeline_class(source.folder) if denoisers else DiffusionPipeline
        pipeline = open_pipeline(kind, source.folder, failure, dtype=dtype, **denoisers)
        assert all(getattr(pipeline, name) is denoiser for name, denoiser in denoisers.items())
        family = cls(pipeline.to(device), source.folder)
        family.files, family.fp8 = source.files, fp8_format(source)
        for denoiser in family.denoisers.values():
            pass_gradients(denoiser)
        return family

    def with_any_rank(self, any_rank: Callable[[bool], bool]) -> Self:
        """This family for denoisers that are sharded over processes; `any_rank` is a logical OR over all of them."""
        sharded = copy.copy(self)
        sharded.any_rank = any_rank
        return sharded

    @property
    def text(self) -> Text:
        """The text encoders and their tokenizers."""
        return Text.of(self.pipeline)

    def components(self) -> dict[str, nn.Module]:
        """Every network that decides a clip, by component name."""
        return {name: part for name, part in self.pipeline.components.items() if isinstance(part, nn.Module)}

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """The weights of all components, in a fixed order."""
        for name, module in sorted(self.components().items()):
            if has_quantised(module):
                # Unpacked one by one, never all at once.
                yield from ((f"{name}.{key}", stored.values) for key, stored in stored_weights(module))
                continue
            for key, value in sorted(module.state_dict().items()):
                yield f"{name}.{key}", value

    def describe(self) -> dict[str, Any]:
        """What decides a clip besides weights and precision, as JSON values; empty if the model's folder says all of it."""
        return {}

    @property
    def found(self) -> str:
        """Where LoRA erasers sit, in a sentence, if that was found by name; empty for an architecture that is known."""
        return ""

    @property
    def denoisers(self) -> dict[str, Any]:
        """The trained denoisers by component name; most architectures have one."""
        return {"transformer": self.pipeline.transformer}

    def prefixed_denoisers(self) -> Iterator[tuple[str, Any]]:
        """The denoisers with the prefix of their sites' names: empty for the first one."""
        for index, (name, denoiser) in enumerate(self.denoisers.items()):
            yield f"{name}." if index else "", denoiser

    @contextlib.contextmanager
    def gradient_checkpointing(self) -> Iterator[None]:
        """Inside this context, the denoisers recompute their activations in the backward pass instead of storing them.

        The backward pass must be inside it too, while the erasers are attached: it runs the hooks again.
        """
        denoisers = [denoiser for denoiser in self.denoisers.values() if not denoiser.is_gradient_checkpointing]
        try:
            for denoiser in denoisers:
                denoiser.enable_gradient_checkpointing()
            yield
        finally:
            for denoiser in denoisers:
                denoiser.disable_gradient_checkpointing()

    @contextlib.contextmanager
    def offload_encoder(self) -> Iterator[None]:
        """Inside this context, text encoders and VAE are in host memory and leave the accelerator to the denoiser.

        `encode` still works, slowly, on the CPU; `decode_or_tile` fetches the VAE. If the model is on the CPU, nothing moves.
        """
        moved = [part for name, part in self.components().items() if name.startswith(LEAVING)]
        homes = [next(part.parameters()).device for part in moved]
        try:
            for part in moved:
                _move(part, torch.device("cpu"))
            if any(home.type == "cuda" for home in homes):
                torch.cuda.empty_cache()
            yield
        finally:
            for part, home in zip(moved, homes, strict=True):
                _move(part, home)

    @contextlib.contextmanager
    def encoder_here(self) -> Iterator[None]:
        """Inside this context, text encoders that `offload_encoder` moved away compute next to the denoiser."""
        moved = [part for name, part in self.components().items() if name.startswith(TEXT_ENCODER)]
        homes = [next(part.parameters()).device for part in moved]
        try:
            for part in moved:
                _move(part, self.device)
            yield
        finally:
            for part, home in zip(moved, homes, strict=True):
                _move(part, home)

    @contextlib.contextmanager
    def _vae_here(self) -> Iterator[None]:
        """Inside this context, a VAE that was moved away computes next to the denoiser."""
        vae = self.pipeline.vae
        home = next(vae.parameters()).device
        try:
            _move(vae, self.device)
            yield
        finally:
            _move(vae, home)

    @property
    def device(self) -> torch.device:
        return next(iter(self.denoisers.values())).device

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.denoisers.values())).dtype

    def mixed_precision(self) -> contextlib.AbstractContextManager[object]:
        """Passes of a training run are computed inside this context."""
        return mixed_precision(self.device, float32=all_float32(self.denoisers.values()))

    @property
    @abc.abstractmethod
    def defaults(self) -> SamplingDefaults:
        """Clip size, steps and guidance scale that the model was trained for."""

    @abc.abstractmethod
    def check_size(self, size: ClipSize) -> None:
        """Raise UserError, with possible sizes, if the architecture cannot make this clip."""

    @abc.abstractmethod
    def encode(self, prompts: Sequence[str]) -> TextCondition:
        """Encode prompts as the stock pipeline does."""

    def encode_with_gradients(self, prompts: Sequence[str]) -> TextCondition:
        """`encode` without its no_grad: gradients reach modules that are trained on the text encoder."""
        with quiet_libraries():
            condition: TextCondition = inspect.unwrap(type(self).encode)(self, prompts)
        return condition

    @abc.abstractmethod
    def latent_shape(self, size: ClipSize) -> tuple[int, ...]:
        """Shape of one clip's noise, without the batch."""

    @abc.abstractmethod
    def token_grid(self, size: ClipSize) -> tuple[int, int, int]:
        """Layout of the N video tokens in the clip: (frames, rows, columns); columns vary fastest."""

    def site_grid(self, site: EraserSite, size: ClipSize) -> tuple[int, int, int]:
        """The token grid at a site; inside a UNet it has fewer rows and columns."""
        return self.token_grid(size)

    @abc.abstractmethod
    def make_scheduler(self, num_inference_steps: int, size: ClipSize) -> Any:
        """A new scheduler with its timesteps set as in the stock pipeline."""

    @abc.abstractmethod
    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition, size: ClipSize) -> Tensor:
        """One denoiser pass in the model's own output space (epsilon, v or flow velocity), float32."""

    @abc.abstractmethod
    def decode(self, latents: Tensor, size: ClipSize) -> Tensor:
        """Latents -> clips (B, F, 3, H, W) in [0, 1], float32."""

    def latents_of(self, clips: Tensor, size: ClipSize) -> Tensor:
        """Clips (B, F, 3, H, W) in [0, 1] -> their latents, float32: the mean of the VAE's posterior, as `decode` takes it."""
        raise NotImplementedError(f"{type(self).__name__}.latents_of: this family cannot encode clips yet.")

    @abc.abstractmethod
    def eraser_sites(self) -> list[EraserSite]:
        """The sites of the paper's erasers: the video tokens of the attention outputs."""

    @abc.abstractmethod
    def concept_positions(self, prompt: str, concept: str) -> list[int]:
        """Positions of the concept's tokens among the S text tokens; empty if the prompt does not mention it."""

    @abc.abstractmethod
    def token_pieces(self, prompt: str) -> list[str]:
        """What each of the S text tokens covers of the prompt; "" for special tokens. The list ends where padding begins."""

    @contextlib.contextmanager
    def text_attention(
        self, positions: Sequence[Sequence[int]], size: ClipSize, layers: MaskLayers = "all"
    ) -> Iterator[TextAttention]:
        """Inside this context, the attention from video tokens to text `positions` is recorded in every pass.

        There is one list of positions, as from `concept_positions`, for each of the batch's first rows. The layers are
        those of `eraser_sites`, all of them or the middle half in each denoiser. Results do not change.
        """
        sites = self.eraser_sites()
        if layers == "middle":
            each = len(sites) // len(self.denoisers)
            middle = range(each // 4, max(each // 4 + 1, -(-3 * each // 4)))
            sites = [site for place, site in enumerate(sites) if place % each in middle]
        grids = {site.module: self.site_grid(site, size) for site in sites}
        with watched_text(grids, positions, self.token_grid(size), self.text_keys) as watch:
            yield watch

    def passes(self, site_name: str, timesteps_B: Tensor) -> Tensor:
        """Which rows of a batch pass through a site, (B,) bool: all of them if there is one denoiser for all timesteps."""
        return torch.ones_like(timesteps_B, dtype=torch.bool)

    def lora_sites(self) -> list[EraserSite]:
        """The sites of LoRA erasers: the projections of the same attentions that video tokens pass through."""
        return projections_of(self.eraser_sites())

    def sites_of_kind(self, kind: Literal["bottleneck", "lora"]) -> list[EraserSite]:
        """The sites of erasers of that kind."""
        return self.eraser_sites() if kind == "bottleneck" else self.lora_sites()

    def sites(self) -> dict[str, EraserSite]:
        """All sites of erasers of both kinds, by name."""
        return {site.name: site for site in [*self.eraser_sites(), *self.lora_sites()]}

    def step(self, scheduler: Any, prediction: Tensor, timestep: Tensor, latents: Tensor) -> Tensor:
        """One scheduler step from noise to clip."""
        return scheduler.step(prediction, timestep, latents, return_dict=False)[0]

    def preview(self, latents: Tensor, size: ClipSize) -> Tensor:
        """A cheap preview of unfinished latents; by default they are decoded."""
        return self.decode_or_tile(latents, size)

    def decode_or_tile(self, latents: Tensor, size: ClipSize) -> Tensor:
        """`decode`; if the accelerator's memory is too small for whole frames, in overlapping tiles."""
        with self._vae_here():
            return decode_or_tile(self.pipeline.vae, lambda: self.decode(latents, size))

    @cached_property
    def base_hash(self) -> str:
        """Hash of the weights that an eraser of this family depends on."""
        return hash_tensors(self.named_base_tensors())

    @cached_property
    def base_sketch(self) -> Sketch:
        """Sketch of the same weights, which recognises them in other formats."""
        parts = ((name, each.format, each.rounding, sketch(each.values)) for name, each in self._stored_base_weights())
        return Sketch.made(self.base_hash, parts)

    def named_base_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The weights that an eraser of this family depends on, in a fixed order: those of the erased modules."""
        yield from ((name, stored.values) for name, stored in self._stored_base_weights())

    def _stored_base_weights(self) -> Iterator[tuple[str, StoredWeight]]:
        for site in self.eraser_sites():
            for name, stored in stored_weights(site.module, self.fp8):
                yield f"{site.name}.{name}", stored


def _move(part: nn.Module, device: torch.device) -> None:
    """Move a part, unless it is there, or its layers are fetched one by one anyway."""
    at = next(part.parameters()).device
    if at != device and getattr(part, "device", at) == at:
        part.to(device)


def channel_statistics(vae: Any, latents_BCFHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each latent channel from the VAE's configuration, broadcastable to these latents."""
    mean, std = (
        torch.tensor(values).to(latents_BCFHW).view(1, -1, 1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return mean, std
