"""Gradients through ComfyUI's own denoisers: against finite differences, and in every precision."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from native_models import KINDS, batch, erasers_for, folder, load, made, said
from quantised import OPTIONS, stored
from safetensors.torch import save_file
from t2vu_pack.nodes.native.in_place import CopyOnWrite
from torch import Tensor

from t2vu_core.base_identity import compare_bases


def gradients(name: str) -> None:
    """The gradient of both kinds in a random direction, plain and recomputed, against a finite difference."""
    family: Any = made(name).family
    x, sigmas, condition = batch(family)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))

    def loss() -> Tensor:
        return (family.predict(x, sigmas, condition, family.defaults.size).double() * weights).mean()

    for kind, step in zip(KINDS, (2e-3, 1e-3), strict=True):
        if family.found and kind == "bottleneck":
            continue
        erasers, sites = erasers_for(family, kind)
        generator = torch.Generator().manual_seed(3)
        along = [(own, torch.randn(own.shape, generator=generator)) for own in erasers.parameters()]
        with torch.no_grad(), erasers.attached(sites):
            ends = [moved(along, by, loss) for by in (step, -step)]
        said[f"{name} {kind} difference"] = (ends[0] - ends[1]) / (2 * step)
        for way in ("plain", "recomputed"):
            erasers.zero_grad()
            recomputed = family.gradient_checkpointing() if way == "recomputed" else contextlib.nullcontext()
            with torch.enable_grad(), recomputed, erasers.attached(sites):
                loss().backward()
            slopes = [float((own.grad * direction).sum()) for own, direction in along if own.grad is not None]
            said[f"{name} {kind} {way}"] = sum(slopes)


def moved(along: Sequence[tuple[Tensor, Tensor]], by: float, loss: Callable[[], Tensor]) -> float:
    """The loss with every parameter moved that far in its direction."""
    for parameter, direction in along:
        parameter.data.add_(direction, alpha=by)
    value = loss().item()
    for parameter, direction in along:
        parameter.data.sub_(direction, alpha=by)
    return value


def gradient(model: Any, kind: str, how: str) -> tuple[Tensor, int]:
    """All gradients of a pass, and the bytes that were kept for the backward pass."""
    family: Any = made("wan", model).family
    x, sigmas, condition = batch(family)
    erasers, sites = erasers_for(family, kind)
    kept: dict[int, int] = {}
    own = CopyOnWrite._pack

    def pack(self: CopyOnWrite, tensor: Tensor) -> Any:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return own(self, tensor)

    CopyOnWrite._pack = pack  # type: ignore[method-assign]
    recomputed = family.gradient_checkpointing() if how == "recomputed" else contextlib.nullcontext()
    try:
        with torch.enable_grad(), recomputed, erasers.attached(sites):
            with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
                out = family.predict(x, sigmas, condition, family.defaults.size)
            size = sum(kept.values())
            out.square().mean().backward()
    finally:
        CopyOnWrite._pack = own  # type: ignore[method-assign]
    return torch.cat([parameter.grad.flatten() for parameter in erasers.parameters()]), size


def precision() -> None:
    for how in OPTIONS:
        file, plain = stored(how)
        for name, values in (("stored", file), ("plain", plain)):
            save_file(values, folder / f"{name}.safetensors")
        model, whole = load("stored", **OPTIONS[how]), load("plain", dtype=torch.float32)
        layer = model.model.diffusion_model.blocks[0].cross_attn.k
        said[f"{how} layer"] = str(getattr(layer.weight, "_qdata", layer.weight).dtype)
        for kind in KINDS:
            expected, _ = gradient(whole, kind, "plain")
            said[f"{how} against float32"] = str(compare_bases(made("wan", model).base, made("wan").base))
            for way in ("plain", "recomputed", "autocast"):
                got, kept = gradient(model, kind, way)
                cosine = torch.nn.functional.cosine_similarity(got, expected, dim=0)
                said[f"{how} {kind} {way}"] = [float(cosine), float(got.norm() / expected.norm()), kept]
