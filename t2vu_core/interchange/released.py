"""The paper's released erasers (T2VUnlearning, arXiv 2505.17550): `eraser_weights.pt` and `eraser_config.json`.

The weights are `{"<attention>.adapter": {"down.weight", "down.bias", "up.weight", "up.bias"}}`, pickled by torch. The
attentions are `transformer_blocks.N.attn1` in CogVideoX and `single_transformer_blocks.N.attn` in HunyuanVideo. The
modules equal those of `erasers.bottleneck`, so only the names change.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Base, Erasure
from t2vu_core.errors import UserError, reading
from t2vu_core.file_names import check_names
from t2vu_core.input_files import check_regular, read_bounded
from t2vu_core.model import T2VModel
from t2vu_core.tensor_pickles import load_tensors_only

WEIGHTS, CONFIG = "eraser_weights.pt", "eraser_config.json"
METHOD = "velocity (T2VUnlearning, arXiv 2505.17550), released by its authors' code"
UNKNOWN_HASH = "unknown"
_KEY = re.compile(
    r"(?P<site>(?P<blocks>transformer_blocks|single_transformer_blocks)\.\d+\.(?P<attention>attn1|attn))"
    r"\.adapter\.(?P<parameter>(?:down|up)\.(?:weight|bias))"
)
_FAMILIES = {("transformer_blocks", "attn1"): "cogvideox", ("single_transformer_blocks", "attn"): "hunyuan_video"}


def import_released(path: str | os.PathLike[str], *, concepts: tuple[str, ...] = (), model: T2VModel | None = None) -> Erasure:
    """Read a folder of the paper's release, or its weights file, as an erasure.

    The release does not state what it erases or which weights it was trained on. Without `concepts`, the folder's name
    is used; without `model`, the base is unknown, and applying the erasure requires `allow_other_base`. Raises UserError
    for anything that is not such a release.
    """
    weights = check_names(path)
    weights = weights / WEIGHTS if weights.is_dir() else weights
    if weights.exists():
        check_regular(weights, f"{weights} cannot be read", f"Give the file {WEIGHTS} or its folder.")
    else:
        raise UserError(f"There is no {WEIGHTS} at {path}; give the file or the folder that contains it.")
    tensors, family = _rename(_flatten(load_tensors_only(weights), weights.name), weights.name)
    erasers = EraserSet.from_tensors(tensors)
    rank = _check_shapes(tensors, weights)
    base = Base(f"a {family} model that the file does not name", family, UNKNOWN_HASH)
    if model is not None:
        if model.family.name != family:
            raise UserError(f"{weights.name} is for {family}; the model {model.name} is {model.family.name}.")
        erasers.fit(model.family.sites())
        base = model.base
    return Erasure(
        kind="eraser",
        concepts=concepts or (weights.resolve().parent.name,),
        base=base,
        tensors=tensors,
        method=METHOD,
        recipe={"rank": rank},
        training={"imported_from": weights.name},
    )


def _flatten(content: Any, name: str) -> dict[str, Tensor]:
    """Tensors by dotted name, from the release's nested dictionaries or from a flat dictionary."""
    flat = {}
    if isinstance(content, Mapping):
        for key, value in content.items():
            inner = value.items() if isinstance(value, Mapping) else [(None, value)]
            flat.update({f"{key}" if last is None else f"{key}.{last}": tensor for last, tensor in inner})
    if not flat or not all(isinstance(tensor, Tensor) for tensor in flat.values()):
        raise UserError(f"{name} is not a release of T2VUnlearning: it should hold tensors by name and nothing else.")
    return flat


def _rename(flat: Mapping[str, Tensor], file_name: str) -> tuple[dict[str, Tensor], str]:
    """Rename the tensors, check every value, and determine the family."""
    families, tensors = set(), {}
    for key, tensor in flat.items():
        match = _KEY.fullmatch(key)
        family = _FAMILIES.get((match["blocks"], match["attention"])) if match else None
        if match is None or family is None:
            raise UserError(
                f"{file_name} is not a release of T2VUnlearning for CogVideoX or HunyuanVideo: it holds {key[:80]!r}."
            )
        families.add(family)
        # A view can claim any shape over a few stored numbers: only contiguous tensors are copied.
        with reading(f"{file_name} holds values in {key} that are no plain numbers"):
            plain = tensor.device.type == "cpu" and tensor.is_contiguous() and tensor.is_floating_point()
            finite = plain and bool(torch.isfinite(tensor).all())
        if not finite:
            raise UserError(f"{file_name} holds values in {key} that are no plain finite numbers.")
        tensors[f"{match['site']}.{match['parameter']}"] = tensor.detach().float().clone()
    if len(families) > 1:
        raise UserError(f"{file_name} mixes places of {' and '.join(sorted(families))}.")
    return tensors, families.pop()


def _check_shapes(tensors: Mapping[str, Tensor], weights: Path) -> int:
    """The rank. Raises UserError unless all erasers have the same rank and width, and the configuration file agrees."""
    shapes = {tuple(tensor.shape) for key, tensor in tensors.items() if key.endswith("down.weight")}
    if len(shapes) != 1:
        raise UserError(f"{weights.name} holds erasers of different sizes: {sorted(shapes)}.")
    rank = shapes.pop()[0]
    for setting, expected in (("eraser_type", "adapter"), ("eraser_rank", rank)):
        for value in _settings(weights.with_name(CONFIG), setting):
            if value != expected:
                raise UserError(f"{CONFIG} says {setting} {value!r}, but the weights have {expected!r}.")
    return rank


def _settings(path: Path, name: str) -> Iterator[Any]:
    """The setting's value, if there is a configuration file."""
    if not path.exists():
        return
    content = read_bounded(path, f"{CONFIG} cannot be read")
    try:
        settings = json.loads(content)
        yield settings[name]
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise UserError(f"{CONFIG} cannot be read: it needs {name} ({error}).") from error
