"""Where the parts of a diffusers model are kept while it computes, and in which precision the frozen denoiser is stored.

By diffusers' own means: group offloading (weights come to the device when their block computes) and layerwise casting
(weights are stored in 8 bits and cast to the computing precision). Both replace a weight's data around each forward pass,
so the denoiser needs gradient checkpointing while it trains: otherwise every cast or fetched weight would be kept. int8 is
optimum-quanto's: its layers keep their weights quantised, also for the backward pass. A denoiser that is stored quantised
(GGUF, bitsandbytes, torchao, quanto) stays as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from accelerate.utils import send_to_device
from diffusers.hooks import apply_group_offloading
from torch import nn

from t2vu_core.errors import UserError
from t2vu_core.families import Family
from t2vu_core.memory.frozen_linears import pass_gradients
from t2vu_core.memory.streamed_weights import aliased
from t2vu_core.quantised_weights import has_quantised, quantised_layer

Offload = Literal["none", "encoder", "blocks"]
BaseDtype = Literal["same", "fp8", "int8"]
OFFLOADS: tuple[str, ...] = get_args(Offload)
BASE_DTYPES: tuple[str, ...] = get_args(BaseDtype)
FP8 = torch.float8_e4m3fn
INT8_UNIT = 32
PLACED = "t2vu_placement"
"""Attribute of a denoiser that was placed."""


@dataclass(frozen=True)
class Placement:
    """`offload`: what stays in host memory. `base_dtype`: how the denoiser's linear layers are stored.

    "encoder" keeps text encoders and VAE on the host and fetches their layers one by one; "blocks" does so with the
    denoiser's blocks too. A model that computes on the CPU gains nothing from it, and loses nothing.
    """

    offload: Offload = "none"
    base_dtype: BaseDtype = "same"

    def __post_init__(self) -> None:
        for value, known, option in ((self.offload, OFFLOADS, "offload"), (self.base_dtype, BASE_DTYPES, "base_dtype")):
            if value not in known:
                raise UserError(f"{option} must be one of {', '.join(known)}, not {value!r}.")
        if self.base_dtype == "int8" and self.offload == "blocks":
            raise UserError("int8 weights cannot be offloaded block by block: use offload=encoder, or base_dtype=fp8.")

    @property
    def streams(self) -> bool:
        """Whether the denoiser's weights are replaced around each pass."""
        return self.offload == "blocks" or self.base_dtype == "fp8"

    def describe(self) -> str:
        """In words, empty if nothing is changed."""
        kept = {"none": "", "encoder": "text encoder and VAE offloaded", "blocks": "text encoder, VAE and blocks offloaded"}
        stored = {"same": "", "fp8": "denoiser stored in fp8", "int8": "denoiser quantised to int8"}
        return ", ".join(filter(None, (kept[self.offload], stored[self.base_dtype])))


AS_LOADED = Placement()


def place(family: Family, placement: Placement, device: torch.device) -> Family:
    """Put a model that was loaded on the CPU where it computes. Raises UserError for a class that diffusers cannot place."""
    # The identity of the base is that of the folder's weights, not of their rounding to 8 bits.
    _ = family.base_hash
    for denoiser in family.denoisers.values():
        _place_denoiser(denoiser, placement, device)
    denoisers = list(family.denoisers.values())
    for part in family.pipeline.components.values():
        if isinstance(part, nn.Module) and not any(part is denoiser for denoiser in denoisers):
            _place_part(part, placement, device)
    return family


def streamed(family: Family) -> bool:
    """Whether the weights of the family's denoisers are replaced around each pass."""
    placements = (getattr(denoiser, PLACED, None) for denoiser in family.denoisers.values())
    return any(placement is not None and placement.streams for placement in placements)


def check_trainable(family: Family, *, checkpointing: bool) -> None:
    """Raise UserError if streamed weights would be trained through without gradient checkpointing."""
    if streamed(family) and not checkpointing:
        raise UserError(
            "Offloaded or 8-bit weights need gradient_checkpointing=true in the recipe: without it, every weight that was "
            "fetched or cast would be kept until the backward pass, and nothing would be saved."
        )


@contextlib.contextmanager
def weights_kept(family: Family) -> Iterator[None]:
    """Inside this context, the backward pass uses the weights that the forward pass used, even if they are replaced since.

    Enter it after gradient checkpointing is enabled.
    """
    if not streamed(family):
        yield
        return
    with aliased(family.denoisers.values()):
        yield


def cast_modules(denoiser: nn.Module) -> list[str]:
    """Names of the modules that layerwise casting stores in 8 bits; the denoiser must be on the meta device."""
    denoiser.enable_layerwise_casting(storage_dtype=FP8, compute_dtype=torch.bfloat16)  # type: ignore[operator]
    return [
        name
        for name, module in denoiser.named_modules()
        if any(value.dtype == FP8 for value in module.parameters(recurse=False))
    ]


def _place_denoiser(denoiser: Any, placement: Placement, device: torch.device) -> None:
    compute = denoiser.dtype
    _check_stored(denoiser, placement)
    if placement.base_dtype == "fp8":
        denoiser.enable_layerwise_casting(storage_dtype=FP8, compute_dtype=compute)
    if placement.base_dtype == "int8":
        _quantize(denoiser)
    if placement.offload == "blocks":
        with _refused(denoiser):
            denoiser.enable_group_offload(
                onload_device=device, offload_device=torch.device("cpu"), offload_type="block_level", num_blocks_per_group=1
            )
    else:
        denoiser.to(device)
    setattr(denoiser, PLACED, placement)


def _check_stored(denoiser: nn.Module, placement: Placement) -> None:
    if not has_quantised(denoiser):
        return
    if placement.base_dtype != "same":
        raise UserError(f"The denoiser is stored quantised; base_dtype={placement.base_dtype} is for plain weights. Omit it.")
    if placement.offload == "blocks" and not moves_in_blocks(denoiser):
        raise UserError("Blocks of a denoiser quantised by a library cannot be offloaded: use offload=encoder, or a GGUF file.")


def moves_in_blocks(denoiser: nn.Module) -> bool:
    """Whether group offloading can move the denoiser's blocks: plain and GGUF weights are single tensors."""
    weights = (getattr(module, "weight", None) for module in denoiser.modules() if quantised_layer(module))
    return all(hasattr(weight, "quant_type") for weight in weights)


def _quantize(denoiser: nn.Module) -> None:
    """Replace the linear layers by those of optimum-quanto, which pass gradients to their inputs."""
    try:
        from optimum.quanto import freeze, qint8, quantize
    except ImportError as error:
        raise UserError("base_dtype=int8 needs the package optimum-quanto: pip install optimum-quanto.") from error
    quantize(denoiser, weights=qint8, exclude=[name for name, part in denoiser.named_modules() if not takes_int8(part)])
    freeze(denoiser)
    denoiser.requires_grad_(False)
    pass_gradients(denoiser)


def takes_int8(module: nn.Module) -> bool:
    """Whether base_dtype=int8 stores this module in 8 bits.

    In bf16 on the CPU, the kernel of torch that optimum-quanto calls ends the process for other sizes.
    """
    return isinstance(module, nn.Linear) and module.in_features % INT8_UNIT == 0 == module.out_features % INT8_UNIT


def _place_part(part: nn.Module, placement: Placement, device: torch.device) -> None:
    if placement.offload == "none":
        part.to(device)
        return
    # What a text encoder is given lies where its weights are kept; its masks must be where its layers compute.
    part.register_forward_pre_hook(partial(_brought, device), with_kwargs=True)
    with _refused(part):
        apply_group_offloading(part, onload_device=device, offload_device=torch.device("cpu"), offload_type="leaf_level")


def _brought(device: torch.device, module: nn.Module, args: Any, kwargs: Any) -> Any:
    return send_to_device(args, device), send_to_device(kwargs, device)


@contextlib.contextmanager
def _refused(part: nn.Module) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UserError(f"diffusers cannot offload a {type(part).__name__} ({error}): use offload=none.") from error
