"""What every architecture answers: the protocol between the methods and a text-to-video model.

Shapes: B clips, S text tokens, N video tokens, D width. Latents are as the architecture's denoiser takes
them, with the batch first. Decoded clips are (B, F, 3, H, W) in [0, 1].
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import DiffusionPipeline
from safetensors import SafetensorError
from torch import Tensor, nn

from t2vu_core.errors import UserError


@dataclass(frozen=True)
class ClipSize:
    """How large a clip is: frames, and pixels."""

    num_frames: int
    height: int
    width: int


@dataclass(frozen=True)
class SamplingDefaults:
    """What the architecture's own pipeline is used with."""

    size: ClipSize
    num_inference_steps: int
    guidance_scale: float
    fps: int


@dataclass(frozen=True)
class TextCondition:
    """Encoded prompts: embeddings (B, S, D) and, where the architecture uses one, a mask (B, S)."""

    embeds_BSD: Tensor
    mask_BS: Tensor | None = None

    def __len__(self) -> int:
        return len(self.embeds_BSD)

    def __getitem__(self, rows: Any) -> TextCondition:
        return TextCondition(self.embeds_BSD[rows], None if self.mask_BS is None else self.mask_BS[rows])

    def expand(self, count: int) -> TextCondition:
        """Repeat the single encoded prompt `count` times."""
        return self[torch.zeros(count, dtype=torch.long)]

    @staticmethod
    def cat(conditions: Sequence[TextCondition]) -> TextCondition:
        masks = [condition.mask_BS for condition in conditions]
        mask = None if masks[0] is None else torch.cat([m for m in masks if m is not None])
        return TextCondition(torch.cat([condition.embeds_BSD for condition in conditions]), mask)


@dataclass(frozen=True)
class EraserSite:
    """A module whose output an eraser edits.

    `edit(output, change)` returns the module's output with `change` applied to its video tokens
    (B, N, width) and nothing else.
    """

    name: str
    module: nn.Module
    width: int
    edit: Callable[[Any, Callable[[Tensor], Tensor]], Any]


class Family(abc.ABC):
    """One architecture, bound to a loaded diffusers pipeline that is never changed."""

    name: ClassVar[str]
    pipeline_classes: ClassVar[tuple[str, ...]]

    def __init__(self, pipeline: DiffusionPipeline) -> None:
        self.pipeline = pipeline

    @classmethod
    def from_folder(cls, folder: Path, *, dtype: torch.dtype, device: torch.device) -> Self:
        """Load a diffusers folder; UserError names the component that cannot be loaded."""
        try:
            pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=dtype, local_files_only=True)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"The model folder {folder} cannot be loaded: {reason}") from error
        for component in pipeline.components.values():
            if isinstance(component, nn.Module):
                component.eval().requires_grad_(False)
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline.to(device))

    @property
    def denoisers(self) -> dict[str, nn.Module]:
        """The trained denoisers by component name; most architectures have one."""
        return {"transformer": self.pipeline.transformer}

    @property
    def device(self) -> torch.device:
        return next(iter(self.denoisers.values())).device

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.denoisers.values())).dtype

    @property
    @abc.abstractmethod
    def defaults(self) -> SamplingDefaults:
        """Clip size, steps and guidance that the model was made for."""

    @abc.abstractmethod
    def check_size(self, size: ClipSize) -> None:
        """Raise UserError, naming the sizes that are possible, if the architecture cannot make this clip."""

    @abc.abstractmethod
    def encode(self, prompts: Sequence[str]) -> TextCondition:
        """Encode prompts as the stock pipeline does."""

    @abc.abstractmethod
    def latent_shape(self, size: ClipSize) -> tuple[int, ...]:
        """Shape of one clip's noise, without the batch."""

    @abc.abstractmethod
    def make_scheduler(self, num_inference_steps: int, size: ClipSize) -> Any:
        """A fresh scheduler with its timesteps set, as the stock pipeline sets them."""

    @abc.abstractmethod
    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition, size: ClipSize) -> Tensor:
        """One denoiser pass in the model's own output space (epsilon, v or flow velocity), float32."""

    @abc.abstractmethod
    def decode(self, latents: Tensor, size: ClipSize) -> Tensor:
        """Latents -> clips (B, F, 3, H, W) in [0, 1], float32."""

    @abc.abstractmethod
    def eraser_sites(self) -> list[EraserSite]:
        """Where the paper's erasers sit: the video tokens of the attention outputs."""

    @abc.abstractmethod
    def concept_positions(self, prompt: str, concept: str) -> list[int]:
        """Positions of the concept's tokens among the S text tokens; empty if the prompt does not say it."""

    def step(self, scheduler: Any, prediction: Tensor, timestep: Tensor, latents: Tensor) -> Tensor:
        """One step from noise to clip."""
        return scheduler.step(prediction, timestep, latents, return_dict=False)[0]

    def preview(self, latents: Tensor, size: ClipSize) -> Tensor:
        """A cheap look at half-made latents; by default they are decoded."""
        return self.decode(latents, size)

    def named_base_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The weights that an eraser of this family stands on, in a fixed order: those of the erased modules."""
        for site in self.eraser_sites():
            for name, tensor in site.module.state_dict().items():
                yield f"{site.name}.{name}", tensor


def positions_of(tokenizer: Any, prompt_ids: Sequence[int], concept: str) -> list[int]:
    """Positions of the concept's tokens in an encoded prompt: every occurrence of its token sequence.

    Tokenizers that mark the start of a word give other pieces inside a sentence than alone, so the
    concept is tried as it stands, with a space before it, and in its plural-free lower-case form.
    """
    found: set[int] = set()
    for form in dict.fromkeys((concept, concept.lower(), f" {concept}", f" {concept.lower()}")):
        piece = [i for i in tokenizer(form, add_special_tokens=False).input_ids if i != tokenizer.unk_token_id]
        if not piece:
            continue
        for start in range(len(prompt_ids) - len(piece) + 1):
            if list(prompt_ids[start : start + len(piece)]) == piece:
                found.update(range(start, start + len(piece)))
    return sorted(found)


def check_visible(tokenizer: Any, concept: str) -> None:
    """Raise UserError if the tokenizer knows no piece of the concept."""
    ids = tokenizer(concept, add_special_tokens=False).input_ids
    space = set(tokenizer("\u00a0 ", add_special_tokens=False).input_ids)
    if all(i == tokenizer.unk_token_id or i in space for i in ids):
        raise UserError(
            f"The model's tokenizer cannot read {concept!r}: every piece of it is unknown. "
            "Describe the concept in words of the language the model was trained on."
        )
