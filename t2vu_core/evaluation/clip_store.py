"""Finished clips, stored under the hash of everything that decides them, so that no clip is generated twice."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from t2vu_core.erasure import atomic_path, hash_tensors
from t2vu_core.errors import UserError
from t2vu_core.families import Family
from t2vu_core.model import T2VModel


class ClipStore:
    """Clips as uint8 (F, 3, H, W) by key: files in a folder, or in memory if there is no folder."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._memory: dict[str, Tensor] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._memory or (self.folder is not None and self._path(key).is_file())

    def put(self, key: str, clip: Tensor) -> None:
        """Store a clip (F, 3, H, W) in [0, 1]; the file is written atomically."""
        pixels = (clip * 255).round().to(torch.uint8).contiguous()
        if self.folder is None:
            self._memory[key] = pixels
            return
        with atomic_path(self._path(key)) as temporary:
            save_file({"clip": pixels}, str(temporary))

    def get(self, key: str) -> Tensor:
        """A stored clip, (F, 3, H, W) in [0, 1]. Raises UserError if its file is damaged."""
        if key in self._memory:
            return self._memory[key].float() / 255
        try:
            return load_file(str(self._path(key)))["clip"].float() / 255
        except (SafetensorError, OSError, KeyError) as error:
            raise UserError(f"The stored clip {self._path(key)} is damaged; delete it and run again.") from error

    def check_space(self, count: int, clip_bytes: int) -> None:
        """Raises UserError if the disk has no space for `count` more clips."""
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
    """Hash of everything a model computes with: its weights (`weights_hash`), its erasures and its guard."""
    parts = [weights, *(f"{hash_tensors(sorted(a.erasure.tensors.items()))} {a.strength!r}" for a in model.erasures)]
    parts += [] if model.guard is None else [json.dumps(model.guard.describe(), sort_keys=True)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def weights_hash(family: Family) -> str:
    """SHA-256 over the weights of all components, including text encoder and VAE, and over `Family.describe`."""
    weights = hash_tensors(family.named_weights())
    described = family.describe()
    return weights if not described else hashlib.sha256(json.dumps([weights, described], sort_keys=True).encode()).hexdigest()


def clip_key(maker: str, prompt: str, seed: int, settings: dict[str, Any]) -> str:
    """The key of a clip; `maker` is the fingerprint of the model."""
    return hashlib.sha256(json.dumps([maker, prompt, seed, settings], sort_keys=True).encode()).hexdigest()[:32]


def generate(store: ClipStore, keys: Sequence[str], sample: Callable[[], Tensor]) -> Tensor:
    """The clips of a batch, (B, F, 3, H, W): stored ones, or all from `sample` if one is missing.

    A batch is sampled as a whole because the last digits of a clip depend on the other clips in the batch.
    """
    if not all(key in store for key in keys):
        for key, clip in zip(keys, sample(), strict=True):
            store.put(key, clip)
    return torch.stack([store.get(key) for key in keys])
