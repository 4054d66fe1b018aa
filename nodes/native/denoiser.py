"""One MODEL as a frozen denoiser: a pass of any batch of latents, noise levels and prompts, with gradients if asked."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import comfy.model_management
import comfy.sampler_helpers
import comfy.samplers
import torch
from comfy.ldm.modules.attention import attention_pytorch
from torch import Tensor, nn

from t2vu_core.families.eraser_site import EraserSite
from t2vu_core.families.text_condition import TextCondition

from .. import comfy_bridge
from .apply import KEY, denoiser_of, known_architecture
from .differentiable import freeze, frozen_linears, training_mode
from .in_place import CopyOnWrite, recomputed
from .loaded_weights import LoadedWeights
from .precision import casting_layers, computing_in, training_dtype
from .schedule import input_scale
from .text import own_mask

TRAINING_MEMORY = 6.0
"""The memory of a training step, as a multiple of ComfyUI's estimate for sampling: it decides what is offloaded.

Measured 5.4 on an H200 (Wan 2.1 1.3B, 17 x 480 x 832, two rows, rank 128, gradient checkpointing): see
benchmarks/results/native_step-nvidia_h200.json.
"""
PARTS_OF_TEXT = {"mask_BS": "attention_mask", "pooled_BD": "pooled_output", "glyphs_BGD": "conditioning_byt5small"}
"""What a CONDITIONING holds of the text besides its embeddings, by the field of a TextCondition."""


class NativeDenoiser:
    """A MODEL with what its CONDITIONING holds besides the text, for every prompt: a start image, a guidance strength."""

    def __init__(self, patcher: Any, others: Mapping[str, Any]) -> None:
        """Raises UserError for an architecture in which no places for erasers are known."""
        self.patcher, self.others = patcher, others
        self.architecture = known_architecture(self.network)
        self._video_tokens = 0
        """Of the current pass."""
        self._recomputing = False

    @property
    def network(self) -> nn.Module:
        """ComfyUI's diffusion model."""
        return denoiser_of(self.patcher.model.diffusion_model)

    @property
    def sampling(self) -> Any:
        """ComfyUI's rules for this MODEL's noise levels, as nodes such as ModelSamplingSD3 have set them."""
        return self.patcher.get_model_object("model_sampling")

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        place: torch.device = self.patcher.load_device
        return place

    @property
    def dtype(self) -> torch.dtype:
        """The precision it samples in; see precision.py for training."""
        model = self.patcher.model
        own: torch.dtype = model.get_dtype() if model.manual_cast_dtype is None else model.manual_cast_dtype
        return own

    def changes(self) -> list[Any]:
        """What changes its passes besides the weights: LoRAs, and erasers that are on the MODEL."""
        return [self.patcher.patches, [keyed.get(KEY) for keyed in self.patcher.wrappers.values()]]

    def sites(self) -> dict[str, EraserSite]:
        """The sites of erasers of both kinds, by name."""
        return self.architecture.sites(self.network, lambda: self._video_tokens)

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """All weights as they were loaded, without LoRAs."""
        weights = LoadedWeights(self.patcher, self.network)
        yield from ((name, weights[name]) for name in sorted(weights))

    def named_base_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The weights that an eraser depends on; where diffusers' names of them are not known, under ComfyUI's."""
        yield from self.architecture.named_base_tensors(self.network, LoadedWeights(self.patcher, self.network))

    def predict(self, latents: Tensor, sigmas_B: Tensor, condition: TextCondition) -> Tensor:
        """The network's own output, float32."""
        self.load(latents.shape, training=torch.is_grad_enabled())
        if self.architecture.one_length and (condition.mask_BS is not None or condition.glyph_mask_BG is not None):
            return self._by_length(latents, sigmas_B, condition)
        return self._together(latents, sigmas_B, condition)

    def _together(self, latents: Tensor, sigmas_B: Tensor, condition: TextCondition) -> Tensor:
        """All rows in one pass."""
        sigmas = sigmas_B.to(self.device, torch.float32)
        scale = input_scale(self.sampling, sigmas).view(-1, *[1] * (latents.dim() - 1))
        return self._apply(latents.to(self.device, torch.float32) / scale, sigmas, condition)

    def load(self, shape: Sequence[int], *, training: bool) -> None:
        """Load the MODEL to its device. It is done before every pass, because other models push it off."""
        needed = self.patcher.model.memory_required(list(shape)) * (TRAINING_MEMORY if training else 1.0)
        comfy.model_management.load_models_gpu([self.patcher], memory_required=needed)
        self.patcher.pre_run()
        if training:
            freeze(self.patcher.model)

    @contextlib.contextmanager
    def gradient_checkpointing(self) -> Iterator[None]:
        """Inside this context, its blocks compute again in the backward pass."""
        lists = [child for child in self.network.children() if isinstance(child, nn.ModuleList)]
        self._recomputing = True
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(training_mode())
                self._cast_layers(stack)
                stack.enter_context(frozen_linears(self.network))
                stack.enter_context(recomputed(block for blocks in lists for block in blocks))
                yield
        finally:
            self._recomputing = False

    def _apply(self, x: Tensor, sigmas: Tensor, condition: TextCondition) -> Tensor:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_raw_output(self.sampling))
            if torch.is_grad_enabled() or torch.is_autocast_enabled(self.device.type):
                if not self._recomputing:
                    self._cast_layers(stack)
                stack.enter_context(computing_in(self.patcher.model, training_dtype(self.dtype)))
            if torch.is_grad_enabled() and not self._recomputing:
                stack.enter_context(training_mode())
                stack.enter_context(frozen_linears(self.network))
                stack.enter_context(CopyOnWrite())
            conditions = self._conditions(condition, x)
            reference = conditions.get("ref_latent")
            latents = [x] if reference is None else [x, reference]
            self._video_tokens = self.architecture.video_tokens(self.network, latents)
            stack.enter_context(comfy_bridge.pausing())
            out = self.patcher.model.apply_model(x, sigmas, transformer_options=self._options(sigmas), **conditions)
        predicted: Tensor = out.float()
        return predicted

    def _cast_layers(self, stack: contextlib.ExitStack) -> None:
        if training_dtype(self.dtype) != self.dtype:
            stack.enter_context(casting_layers(self.network))

    def _options(self, sigmas: Tensor) -> dict[str, Any]:
        """Erasers that are on the MODEL stay on; other wrappers, such as caches that skip passes, do not take part.

        Attention is PyTorch's: of the others, some have no backward pass.
        """
        wrappers = {kind: {KEY: keyed[KEY]} for kind, keyed in self.patcher.wrappers.items() if KEY in keyed}
        return {
            **self.patcher.model_options.get("transformer_options", {}),
            "wrappers": wrappers, "sample_sigmas": sigmas, "sigmas": sigmas, "cond_or_uncond": [0], "uuids": [],
            "optimized_attention_override": lambda own, *args, **options: attention_pytorch(*args, **options),
        }  # fmt: skip

    def _conditions(self, condition: TextCondition, x: Tensor) -> dict[str, Any]:
        """What ComfyUI makes of a CONDITIONING for any architecture, with a row for each prompt."""
        if self.architecture.needs_mask and condition.mask_BS is None:
            everything = torch.ones(condition.embeds_BSD.shape[:2], dtype=torch.long, device=condition.embeds_BSD.device)
            condition = dataclasses.replace(condition, mask_BS=everything)
        parts = {theirs: getattr(condition, ours) for ours, theirs in PARTS_OF_TEXT.items()}
        # Every CLIP says whether it has pooled embeddings, and some architectures ask for them without using them.
        given = {"pooled_output": None, **self.others, **{name: part for name, part in parts.items() if part is not None}}
        rows = comfy.sampler_helpers.convert_cond([[condition.embeds_BSD, given]])
        # Models of pictures and sound take the shapes of both, and one shape if there are pictures only.
        made = comfy.samplers.process_conds(
            self.patcher.model, x, {"positive": rows}, self.device, latent_shapes=[x.shape]
        )  # fmt: skip
        (row,) = made["positive"]
        return {name: part.process_cond(batch_size=len(x), area=None).cond for name, part in row["model_conds"].items()}

    def _by_length(self, latents: Tensor, sigmas_B: Tensor, condition: TextCondition) -> Tensor:
        """Prompts of each length, and of each length of quoted text, in a pass of their own."""
        lengths_B2 = torch.stack([_lengths(condition.embeds_BSD, condition.mask_BS),
                                  _lengths(condition.glyphs_BGD, condition.glyph_mask_BG, len(condition))], dim=1)  # fmt: skip
        out, keep = torch.empty(latents.shape, dtype=torch.float32, device=self.device), self.architecture.keeps_padding
        for form in lengths_B2.unique(dim=0):
            rows = (lengths_B2 == form).all(1).nonzero().flatten()
            text = _cut(condition[rows.to(condition.embeds_BSD.device)], *form.tolist(), keep_padding=keep)
            part = self._together(latents[rows.to(latents.device)], sigmas_B[rows.to(sigmas_B.device)], text)
            out = out.index_put((rows.to(self.device),), part)
        return out


def _lengths(tokens: Tensor | None, mask: Tensor | None, count: int = 0) -> Tensor:
    """How many tokens of each row count; zeros for `count` rows without any."""
    if mask is not None:
        return mask.bool().sum(1).cpu()
    return torch.zeros(count, dtype=torch.long) if tokens is None else torch.full((len(tokens),), tokens.shape[1])


def _cut(condition: TextCondition, length: int, glyphs: int, *, keep_padding: bool) -> TextCondition:
    """The tokens and glyphs that count, without masks; with `keep_padding`, all that the CLIP has given, with its mask."""
    quoted = None if condition.glyphs_BGD is None or not glyphs else condition.glyphs_BGD[:, :glyphs]
    embeds = condition.embeds_BSD[:, :length]
    mask = own_mask(condition.mask_BS[:, :length]) if keep_padding and condition.mask_BS is not None else None
    return dataclasses.replace(condition, embeds_BSD=embeds, mask_BS=mask, glyphs_BGD=quoted, glyph_mask_BG=None)


@contextlib.contextmanager
def _raw_output(sampling: Any) -> Iterator[None]:
    """Inside this context, `apply_model` gives the network's output, not the clean latents that follow from it."""
    vars(sampling)["calculate_denoised"] = lambda sigma, output, x: output
    try:
        yield
    finally:
        del vars(sampling)["calculate_denoised"]
