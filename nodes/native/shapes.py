"""A graph's MODEL and CLIP without their weights, for the memory plan: ComfyUI's own classes with fake tensors.

Every module is copied without its tensors, so that passes give shapes, cost nothing, and leave the graph's models alone.
"""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import comfy.ops
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from t2vu_core.families.base import Family
from t2vu_core.families.eraser_site import is_linear
from t2vu_core.memory.allocations import Allocations
from t2vu_core.memory.placement import AS_LOADED
from t2vu_core.memory.shapes import STORED, ShapedModel, largest_layer, weight_bytes
from t2vu_core.training.velocity.gapped_prompts import ENCODE_BATCH

from .. import comfy_bridge
from .denoiser import NativeDenoiser
from .encoder import ENCODE

CPU = torch.device("cpu")
OF_THE_ORIGINAL = ("forward", "_v", "_pin", ENCODE)
"""Attributes of a module that compute with the original's weights, or hold them."""
LORAS = ("weight_function", "bias_function")
"""Lists of what ComfyUI adds to a layer's weights while it computes."""
PLAIN = (Tensor, nn.Parameter)


@dataclass(frozen=True)
class NativeShapes(ShapedModel):
    """A NativeFamily whose tensors have shapes and no values."""

    @classmethod
    def of(cls, name: str, family: Family, mode: FakeTensorMode) -> "NativeShapes":
        """`family` is made of the parts that `shaped_denoiser` and `shaped_clip` give under `mode`."""
        return cls(name, family, mode, AS_LOADED)

    @contextlib.contextmanager
    def computing(self) -> Iterator[Family]:
        """As for folders. ComfyUI's layers look for a cancel: one that they take here is left to the training run."""
        try:
            with super().computing() as family:
                yield family
        except (comfy_bridge.Cancelled, comfy_bridge.Paused):
            comfy_bridge.take_cancel()
            comfy_bridge.cancel_the_rest()
            raise

    def parts(self) -> dict[str, nn.Module]:
        return self.family.components()

    def loading(self, *, host_only: bool) -> int:
        """On a GPU, ComfyUI moves the denoiser and the VAE away for the text encoder."""
        parts = self.parts().values() if host_only else self.encoders()
        return sum(map(weight_bytes, parts))

    def least_weights(self) -> int:
        """ComfyUI brings single layers to the GPU where the rest does not fit."""
        return largest_layer([*self.family.denoisers.values(), *self.encoders()])

    def encoding(self) -> int:
        """ComfyUI's CLIP encodes prompts one by one."""
        with Allocations() as counted:
            row = self.family.encode(["a ghost"])
        return counted.peak + (ENCODE_BATCH - 1) * row.embeds_BSD.nbytes


class ShapedDenoiser(NativeDenoiser):
    """A denoiser that needs no loading."""

    def load(self, shape: Any, *, training: bool) -> None:
        return


def shaped_denoiser(own: NativeDenoiser) -> ShapedDenoiser:
    """A denoiser with fake weights, under a FakeTensorMode."""
    model = _bare(own.patcher.model)
    model._modules = {**own.patcher.model._modules, "diffusion_model": _faked(own.network, {})}
    sampling = own.sampling
    model._modules["model_sampling"] = sampling
    patcher = SimpleNamespace(
        model=model, load_device=CPU, patches={}, backup={}, wrappers=own.patcher.wrappers,
        model_options=own.patcher.model_options, get_model_object=lambda _: sampling,
    )  # fmt: skip
    return ShapedDenoiser(patcher, own.others)


def shaped_clip(clip: Any) -> Any:
    """A CLIP with fake weights, under a FakeTensorMode."""
    shaped = copy.copy(clip)
    shaped.cond_stage_model = _faked(clip.cond_stage_model, {})
    shaped.patcher = SimpleNamespace(load_device=CPU, patches={}, backup={}, object_patches={}, forced_hooks=None)
    shaped.load_model = lambda *_: None
    return shaped


class UnpackingLinear(comfy.ops.manual_cast.Linear):
    """A linear layer that allocates what a quantised one unpacks, in each pass."""

    def cast_bias_weight(self, like: Tensor) -> tuple[Tensor, Tensor | None]:
        return torch.empty(self.weight.shape, dtype=like.dtype), None if self.bias is None else self.bias.to(like.dtype)

    def forward_comfy_cast_weights(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, *self.cast_bias_weight(hidden))

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        return self.forward_comfy_cast_weights(hidden)


def _bare(module: nn.Module) -> Any:
    """A copy that shares its children and tensors, but none of its tables."""
    twin = type(module).__new__(type(module))
    own = {name: value for name, value in vars(module).items() if name not in OF_THE_ORIGINAL}
    vars(twin).update({name: copy.copy(value) if isinstance(value, dict) else value for name, value in own.items()})
    vars(twin).update({name: [] for name in LORAS if name in own})
    # Some blocks move their modules while they compute, which fake tensors refuse.
    vars(twin)["_apply"] = lambda *_, **__: twin
    return twin


def _faked(module: nn.Module, made: dict[int, Any]) -> Any:
    """A copy with fake tensors; `made` holds what was copied, by the identity of the original."""
    if id(module) in made:
        return made[id(module)]
    twin = made[id(module)] = _bare(module)
    weight = module._parameters.get("weight")
    if is_linear(module) and weight is not None and type(weight) not in PLAIN:
        twin.__class__ = UnpackingLinear
        twin.in_features, twin.out_features = cast(Any, module).in_features, cast(Any, module).out_features
    for table in (twin._parameters, twin._buffers):
        for name, value in table.items():
            if value is not None:
                table[name] = made.setdefault(id(value), _fake(value))
    for name, child in module._modules.items():
        twin._modules[name] = None if child is None else _faked(child, made)
    return twin


def _fake(value: Any) -> Tensor:
    """A fake tensor of the same shape and, where it is plain, precision; it knows the bytes of the original."""
    packed = getattr(value, "_qdata", None)
    dtype = value.dtype if packed is None else packed.dtype
    fake = torch.empty(tuple(value.shape), dtype=dtype, device=CPU)
    fake = nn.Parameter(fake, requires_grad=False) if isinstance(value, nn.Parameter) else fake
    if type(value) not in PLAIN:
        stored = value if packed is None else packed
        setattr(fake, STORED, stored.numel() * stored.element_size())
    return fake
