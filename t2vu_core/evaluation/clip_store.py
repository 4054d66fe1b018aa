"""Finished clips, kept under the hash of all that made them, so that nothing is generated twice."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from t2vu_core.erasure import atomic_path, hash_tensors
from t2vu_core.errors import UserError
from t2vu_core.families import Family
from t2vu_core.model import T2VModel


class ClipStore:
    """Clips as uint8 (F, 3, H, W) by key: files in a folder, or in memory where no folder is given."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._memory: dict[str, Tensor] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._memory or (self.folder is not None and self._path(key).is_file())

    def put(self, key: str, clip: Tensor) -> None:
        """Keep a clip (F, 3, H, W) in [0, 1]; the file appears whole or not at all."""
        pixels = (clip * 255).round().to(torch.uint8).contiguous()
        if self.folder is None:
            self._memory[key] = pixels
            return
        with atomic_path(self._path(key)) as temporary:
            save_file({"clip": pixels}, str(temporary))

    def get(self, key: str) -> Tensor:
        """A kept clip, (F, 3, H, W) in [0, 1]."""
        if key in self._memory:
            return self._memory[key].float() / 255
        try:
            return load_file(str(self._path(key)))["clip"].float() / 255
        except (SafetensorError, OSError, KeyError) as error:
            raise UserError(f"The kept clip {self._path(key)} is damaged; delete it and run again.") from error

    def check_space(self, count: int, clip_bytes: int) -> None:
        """Raise UserError if the disk cannot take `count` more clips."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        free, needed = shutil.disk_usage(self.folder).free, count * (clip_bytes + 512)
        if needed > free:
            raise UserError(
                f"{count} clips need {needed / 2**20:.0f} MiB, but {self.folder} has only {free / 2**20:.0f} MiB free. "
                "Free some space, or name another folder with --out."
            )

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / f"{key}.safetensors"


def fingerprint(model: T2VModel, weights: str) -> str:
    """What a model computes, as a hash: all its weights (`weights_hash`), the erasures on it, and its guard."""
    parts = [weights, *(f"{hash_tensors(sorted(a.erasure.tensors.items()))} {a.strength!r}" for a in model.erasures)]
    parts += [] if model.guard is None else [json.dumps(model.guard.describe(), sort_keys=True)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def weights_hash(family: Family) -> str:
    """SHA-256 over the weights of every component, text encoder and VAE included."""
    modules = {name: part for name, part in family.pipeline.components.items() if isinstance(part, nn.Module)}
    return hash_tensors((f"{name}.{key}", value) for name, module in sorted(modules.items()) for key, value in _tensors(module))


def clip_key(maker: str, prompt: str, seed: int, settings: dict[str, Any]) -> str:
    """The key of a clip; `maker` is the fingerprint of the model."""
    return hashlib.sha256(json.dumps([maker, prompt, seed, settings], sort_keys=True).encode()).hexdigest()[:32]


def generate(store: ClipStore, keys: Sequence[str], sample: Callable[[], Tensor]) -> Tensor:
    """The clips of a batch, (B, F, 3, H, W): kept ones, or all anew by `sample` if one is missing.

    A batch is made as a whole because the values of a clip depend, in the last digits, on what else is in it.
    """
    if not all(key in store for key in keys):
        for key, clip in zip(keys, sample(), strict=True):
            store.put(key, clip)
    return torch.stack([store.get(key) for key in keys])


def _tensors(module: nn.Module) -> Iterable[tuple[str, Tensor]]:
    return sorted(module.state_dict().items())
