"""Loads a miniature by name: what a graph needs to generate with it, and whether this ComfyUI can."""

import importlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import comfy.model_management
import torch
from safetensors.torch import load_file
from torch import Tensor

from t2vu_core import UserError
from t2vu_core.miniature.bundled import bundled_folder, check_built

from ..origin import remember_folder
from .precision import PRECISIONS


class NativeMiniature(NamedTuple):
    """ComfyUI's objects for one miniature. `latent` is one empty clip, or image, of its size."""

    model: Any
    clip: Any
    vae: Any
    latent: dict[str, Tensor]


@dataclass(frozen=True)
class Component:
    """A component's settings and its weights in float32."""

    config: Mapping[str, Any]
    weights: dict[str, Tensor]

    @classmethod
    def read(cls, folder: Path) -> "Component":
        (file,) = folder.glob("*.safetensors")
        weights = {name: tensor.float() for name, tensor in load_file(str(file)).items()}
        return cls(json.loads((folder / "config.json").read_text(encoding="utf-8")), weights)


@dataclass(frozen=True)
class _Entry:
    """A miniature: the module here that builds its MODEL and VAE, its latent, and the module of ComfyUI that it needs."""

    builder: str
    latent: tuple[int, ...]
    needs: str
    since: str = "0.3.75"


_ENTRIES = {
    "miniature-ltx": _Entry(".ltx", (1, 128, 5, 4, 4), "comfy.ldm.lightricks"),
    "miniature-unet": _Entry(".unet", (1, 12, 8, 8), "comfy.ldm.modules.diffusionmodules.openaimodel"),
    "miniature": _Entry(".cogvideox", (1, 12, 9, 8, 8), "comfy.ldm.cogvideo", since="0.21"),
}
MINIATURES = tuple(_ENTRIES)


def load_miniature(name: str, precision: str) -> NativeMiniature:
    """Load one; `precision` is the denoiser's. Raises UserError for an unknown name or one this ComfyUI cannot run."""
    if name not in _ENTRIES:
        raise UserError(f"There is no miniature {name!r}; choose one of {', '.join(MINIATURES)}.")
    if precision not in PRECISIONS:
        raise UserError(f"There is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}.")
    entry = _ENTRIES[name]
    if importlib.util.find_spec(entry.needs) is None:
        others = " or ".join(other for other in MINIATURES if importlib.util.find_spec(_ENTRIES[other].needs))
        raise UserError(f"{name} needs ComfyUI {entry.since} or newer; this one can run {others}.")
    check_built(name)
    folder = bundled_folder(name)
    if folder is None:
        raise UserError(f"The weights of {name} are not in this copy of the package.")
    model, clip, vae = importlib.import_module(entry.builder, __package__).build(folder, precision)
    remember_folder(model, folder)
    samples = torch.zeros(entry.latent, device=comfy.model_management.intermediate_device())
    return NativeMiniature(model, clip, vae, {"samples": samples})
