"""Lets torchvision and torchaudio, built for CUDA, be imported with a torch built without it.

`./run` copies it into .venv, and this folder goes on the PYTHONPATH of a ComfyUI run with another Python.
transformers and ComfyUI import these packages, but need only their Python parts here. torchvision registers
fake kernels for operators of a library that cannot load: declaring the operators is enough. torchaudio
takes a library that is absent well, one that fails to load not: it is told that there is none.
"""

import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType


class _ImportHook:
    def __init__(self) -> None:
        # A library's declarations end with it, so it is kept.
        self._operators: object = None

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name == "torchvision":
            self._declare_operators()
        if name == "torchaudio._extension.utils" and _torch_has_no_cuda():
            return _without_library(importlib.machinery.PathFinder.find_spec(name, path))
        return None

    def _declare_operators(self) -> None:
        import torch

        if self._operators is not None or not _torch_has_no_cuda():
            return
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        self._operators = library


def _torch_has_no_cuda() -> bool:
    import torch

    return torch.version.cuda is None and torch.version.hip is None


def _without_library(spec: importlib.machinery.ModuleSpec | None) -> importlib.machinery.ModuleSpec | None:
    if spec is None or spec.loader is None:
        return spec
    execute = spec.loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        module._load_lib = lambda library: False  # type: ignore[attr-defined]

    spec.loader.exec_module = exec_module  # type: ignore[method-assign]
    return spec


sys.meta_path.insert(0, _ImportHook())
