"""A model without weights: the pipeline's real classes, made from a folder's configuration files with fake tensors."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from t2vu_core.errors import UserError, reading
from t2vu_core.families import Family, family_for
from t2vu_core.memory.full_masks import FullMasks
from t2vu_core.quiet import quiet_libraries


@dataclass(frozen=True)
class ShapedModel:
    """A family whose tensors have shapes and no values. Compute with it inside `computing` only."""

    name: str
    family: Family
    mode: FakeTensorMode

    @contextmanager
    def computing(self) -> Iterator[Family]:
        """Inside this context operations on the family's tensors give shapes and cost nothing."""
        with self.mode, FullMasks():
            yield self.family

    def parts(self) -> dict[str, nn.Module]:
        """The modules of the pipeline by component name."""
        return {name: part for name, part in self.family.pipeline.components.items() if isinstance(part, nn.Module)}


def shaped_model(folder: Path, dtype: torch.dtype) -> ShapedModel:
    """The model in a diffusers folder, from its configuration files. Raises UserError, naming what cannot be read."""
    failure = f"The model folder {folder} cannot be planned"
    with reading(failure), quiet_libraries():
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        family = family_for(str(index["_class_name"]))
        if family is None:
            raise UserError(f"{folder.name} is a {index['_class_name']}, which is not supported.")
        # Modules of a fake mode cannot change their precision in place: they are made on the meta device, then copied.
        with torch.device("meta"):
            pipeline = _pipeline(getattr(diffusers, index["_class_name"]), folder, index)
        return with_fake_weights(folder.name, family(pipeline, folder), dtype)


def with_fake_weights(name: str, family: Family, dtype: torch.dtype) -> ShapedModel:
    """The model of a family whose weights are on the meta device; they are replaced by fake ones in that precision."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        for part in family.pipeline.components.values():
            if isinstance(part, nn.Module):
                _fake(part, dtype)
                part.eval().requires_grad_(False)
    if getattr(family.pipeline.config, "boundary_ratio", None) is not None:
        # Which rows go to which denoiser depends on values; both are of one shape, so one computes all rows.
        family.pipeline.register_to_config(boundary_ratio=None)
    return ShapedModel(name, family, mode)


def _pipeline(kind: Any, folder: Path, index: dict[str, Any]) -> Any:
    arguments: dict[str, Any] = {}
    for name in inspect.signature(kind.__init__).parameters:
        entry = index.get(name)
        if isinstance(entry, list):
            arguments[name] = _component(folder / name, entry)
        elif entry is not None:
            arguments[name] = entry
        elif name in index or (name not in index and _required(kind, name)):
            arguments[name] = None
    arguments.pop("self", None)
    return kind(**arguments)


def _required(kind: Any, name: str) -> bool:
    return inspect.signature(kind.__init__).parameters[name].default is inspect.Parameter.empty


def _component(folder: Path, entry: list[Any]) -> Any:
    """A module or scheduler from its configuration; None for tokenizers and for what is not there."""
    library, name = entry
    if library == "diffusers":
        kind = getattr(diffusers, name)
        with torch.device("cpu") if not issubclass(kind, nn.Module) else torch.device("meta"):
            return kind.from_config(kind.load_config(folder, local_files_only=True))
    kind = getattr(transformers, str(name), None)
    if isinstance(kind, type) and issubclass(kind, nn.Module):
        return kind(kind.config_class.from_pretrained(folder, local_files_only=True))
    return None


def _fake(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace all weights by fake ones of the same shapes; parts that diffusers keeps in float32 stay in it."""
    kept = tuple(getattr(module, "_keep_in_fp32_modules", None) or ())
    replaced: dict[int, Tensor] = {}
    for path, each in module.named_modules():
        for table in (each._parameters, each._buffers):
            for name, value in table.items():
                if value is None:
                    continue
                if id(value) not in replaced:
                    own = value.dtype if not value.is_floating_point() else dtype
                    if dtype != torch.float32 and any(part in f"{path}.{name}".split(".") for part in kept):
                        own = torch.float32
                    fresh = torch.empty(value.shape, dtype=own)
                    replaced[id(value)] = nn.Parameter(fresh, requires_grad=False) if isinstance(value, nn.Parameter) else fresh
                table[name] = replaced[id(value)]  # type: ignore[assignment]
