"""A model without weights: the pipeline's real classes, made from a folder's configuration files with fake tensors."""

from __future__ import annotations

import copy
import inspect
import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
import transformers
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from t2vu_core.errors import UserError, reading
from t2vu_core.families import Family, family_for
from t2vu_core.memory.activations import encode_bytes
from t2vu_core.memory.fake_streaming import FakeQuantisedLinear, stream
from t2vu_core.memory.frozen_linears import pass_gradients
from t2vu_core.memory.full_masks import FullMasks
from t2vu_core.memory.placement import AS_LOADED, FP8, PLACED, Placement, cast_modules, takes_int8
from t2vu_core.memory.stored_sizes import SCALE, StoredSize, stored_sizes
from t2vu_core.memory.text_shapes import text_condition
from t2vu_core.miniature.bundled import bundled_folder, bundled_names
from t2vu_core.model_source import ModelSource
from t2vu_core.pipelines import failures_blamed
from t2vu_core.quiet import quiet_libraries
from t2vu_core.training.velocity.gapped_prompts import ENCODE_BATCH

log = logging.getLogger(__name__)

INT8 = StoredSize(8, SCALE)
"""What base_dtype=int8 stores: optimum-quanto's weights with a scale for each row."""
STORED = "t2vu_bytes"
"""Attribute of a weight: the bytes that it takes, if not those of its precision."""


@dataclass(frozen=True)
class ShapedModel:
    """A family whose tensors have shapes and no values. Compute with it inside `computing` only."""

    name: str
    family: Family
    mode: FakeTensorMode
    placement: Placement
    counted: dict[str, int] = field(default_factory=dict)
    """Bytes that were counted and depend on the model alone, by name."""

    @contextmanager
    def computing(self) -> Iterator[Family]:
        """Inside this context operations on the family's tensors give shapes and cost nothing.

        Raises UserError if the libraries cannot compute with the model's configuration.
        """
        with failures_blamed(self.family), self.mode, FullMasks():
            yield self.family

    def parts(self) -> dict[str, nn.Module]:
        """The modules of the pipeline by component name."""
        return {name: part for name, part in self.family.pipeline.components.items() if isinstance(part, nn.Module)}

    def encoders(self) -> list[nn.Module]:
        """The text encoders."""
        return [part for name, part in self.parts().items() if name.startswith("text_encoder")]

    def weights(self) -> int:
        """Bytes of the frozen weights that are on the device while it trains."""
        denoisers = self.family.denoisers.values()
        moved = sum(weight_bytes(block) for each in denoisers for block in blocks(each)) if self._moves_blocks else 0
        return sum(map(weight_bytes, denoisers)) - moved

    def loading(self, *, host_only: bool) -> int:
        """Bytes of the weights that are on the device while prompts are encoded. `host_only`: the model is on the CPU."""
        denoisers = list(self.family.denoisers.values())
        others = (part for part in self.parts().values() if not any(part is each for each in denoisers))
        none = self.placement.offload == "none"
        return self.weights() + (sum(map(weight_bytes, others)) if none else largest_layer(self.encoders()))

    def least_weights(self) -> int | None:
        """Bytes of weights that must be on the device where the others come to it by themselves; None where none do."""
        return None

    def encoding(self) -> int:
        """Bytes that are allocated while a full batch of prompts is encoded."""
        return max((_encoding(self.family, encoder) for encoder in self.encoders()), default=0)

    @property
    def _moves_blocks(self) -> bool:
        return self.placement.offload == "blocks"


def check_source(source: str, config: str | None = None, low_noise: str | None = None) -> ModelSource:
    """A bundled model, a diffusers folder or single files. Raises UserError if there are no configuration files."""
    found = ModelSource.of(
        bundled_folder(source) or Path(source),
        None if config is None else Path(config),
        None if low_noise is None else Path(low_noise),
    )
    if not (found.folder / "model_index.json").is_file():
        raise UserError(
            f"There is no model {source!r}: it is neither one of the bundled models ({', '.join(bundled_names())}) nor a "
            "diffusers folder with a model_index.json."
        )
    return found


def shaped_model(source: Path | ModelSource, dtype: torch.dtype, placement: Placement = AS_LOADED) -> ShapedModel:
    """The model of a diffusers folder, from its configuration files. Raises UserError, naming what cannot be read."""
    source = source if isinstance(source, ModelSource) else ModelSource(source)
    folder = source.folder
    failure = f"The model folder {folder} cannot be planned"
    with reading(failure), quiet_libraries():
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        family = family_for(str(index["_class_name"]))
        if family is None:
            raise UserError(f"{folder.name} is a {index['_class_name']}, which is not supported.")
        # Modules of a fake mode cannot change their precision in place: they are made on the meta device, then copied.
        with torch.device("meta"):
            pipeline = _pipeline(getattr(diffusers, index["_class_name"]), folder, index)
        shaped = family(pipeline, folder)
        stored = stored_sizes(source, iter(shaped.components()), dtype)
        return _with_fake_weights(shaped, source.name, dtype, placement, stored)


def _with_fake_weights(
    family: Family, name: str, dtype: torch.dtype, placement: Placement, stored: Mapping[str, StoredSize]
) -> ShapedModel:
    """The model of a family on the meta device, with fake weights in that precision, placed as on a device."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    in_fp8 = {
        name: _cast(denoiser, dtype) if placement.base_dtype == "fp8" else () for name, denoiser in family.denoisers.items()
    }
    with mode:
        for part_name, part in family.pipeline.components.items():
            if isinstance(part, nn.Module):
                _fake(part, dtype, in_fp8.get(part_name, ()))
                part.eval().requires_grad_(False)
    for denoiser_name, denoiser in family.denoisers.items():
        stream((denoiser.get_submodule(each) for each in in_fp8[denoiser_name]), dtype)
        if placement.offload == "blocks":
            stream(blocks(denoiser))
        if placement.base_dtype == "int8":
            _store(denoiser, INT8, dtype)
        setattr(denoiser, PLACED, placement)
    for part_name, size in stored.items():
        _store(family.components()[part_name], size, dtype)
    if getattr(family.pipeline.config, "boundary_ratio", None) is not None:
        # Which rows go to which denoiser depends on values; both are of one shape, so one computes all rows.
        family.pipeline.register_to_config(boundary_ratio=None)
    return ShapedModel(name, family, mode, placement)


def blocks(denoiser: nn.Module) -> list[nn.Module]:
    """What block-level offloading moves as a unit: the members of the denoiser's own lists of modules."""
    lists = (child for child in denoiser.children() if isinstance(child, nn.ModuleList | nn.Sequential))
    return [block for each in lists for block in each]


def weight_bytes(module: nn.Module) -> int:
    """Bytes of its weights and buffers, shared ones once."""
    values = {id(value): value for value in (*module.parameters(), *module.buffers())}
    return round(sum(getattr(value, STORED, value.numel() * value.element_size()) for value in values.values()))


def largest_layer(parts: Iterable[nn.Module]) -> int:
    """What layer by layer offloading fetches at most: usually the table of embeddings."""
    leaves = (module for part in parts for module in part.modules() if not list(module.children()))
    return max(map(weight_bytes, leaves), default=0)


def _encoding(family: Family, encoder: nn.Module) -> int:
    """Of a full batch of prompts; 0 for an encoder whose code asks for values, so that it cannot be counted."""
    tokens = text_condition(family, 1).embeds_BSD.shape[1]
    longest = getattr(getattr(encoder, "config", None), "max_position_embeddings", tokens)
    try:
        return encode_bytes(encoder, ENCODE_BATCH, min(tokens, longest))
    except Exception as error:  # A library's code may ask anything of its tensors.
        log.info("Encoding with %s is not planned: %s", type(encoder).__name__, error)
        return 0


def _store(part: nn.Module, size: StoredSize, dtype: torch.dtype) -> None:
    """Weights that a library quantises take other bytes, and are unpacked while they compute."""
    for name, module in part.named_modules():
        if size.takes(name, module) and (size is not INT8 or takes_int8(module)):
            setattr(module.weight, STORED, size.of(cast(nn.Linear, module)))
            FakeQuantisedLinear.replace(module, dtype, size.unpacked_through)
    pass_gradients(part)


def _cast(denoiser: nn.Module, dtype: torch.dtype) -> list[str]:
    return cast_modules(copy.deepcopy(denoiser).to(dtype))


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
    kind: Any = getattr(diffusers if library == "diffusers" else transformers, str(name), None)
    is_module = isinstance(kind, type) and issubclass(kind, nn.Module)
    if library == "diffusers":
        with torch.device("meta" if is_module else "cpu"):
            return kind.from_config(kind.load_config(folder, local_files_only=True))
    return kind(kind.config_class.from_pretrained(folder, local_files_only=True)) if is_module else None


def _fake(module: nn.Module, dtype: torch.dtype, cast: Collection[str]) -> None:
    """Replace all weights by fake ones of the same shapes: in `dtype`, in fp8 in the modules named by `cast`.

    Parts that diffusers keeps in float32 stay in it.
    """
    # transformers does so in float16 only.
    rounded = dtype != torch.float32 if isinstance(module, diffusers.ModelMixin) else dtype == torch.float16
    kept = tuple(getattr(module, "_keep_in_fp32_modules", None) or ()) if rounded else ()
    replaced: dict[int, Tensor] = {}

    def fake(value: Tensor, path: str, name: str) -> Tensor:
        own = FP8 if path in cast else torch.float32 if set(f"{path}.{name}".split(".")) & set(kept) else dtype
        fresh = torch.empty(value.shape, dtype=own if value.is_floating_point() else value.dtype)
        return nn.Parameter(fresh, requires_grad=False) if isinstance(value, nn.Parameter) else fresh

    for path, each in module.named_modules():
        tables: tuple[dict[str, Any], ...] = (each._parameters, each._buffers)
        for table in tables:
            for name, value in table.items():
                if value is not None:
                    table[name] = replaced.setdefault(id(value), fake(value, path, name))
