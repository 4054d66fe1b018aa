"""Loading a diffusers folder: offline, quietly, frozen, and without running code from the folder."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from packaging.version import Version
from torch import nn

from t2vu_core.errors import LIBRARIES, NotFinite, UserError, first_line, raised_by, reading
from t2vu_core.miniature.bundled import WEIGHTS
from t2vu_core.model_folders import pipeline_problem, weights_variant
from t2vu_core.model_limits import check_model_folder
from t2vu_core.quiet import quiet_libraries

log = logging.getLogger(__name__)

DTYPE = "dtype" if Version(diffusers.__version__) >= Version("0.40") else "torch_dtype"
"""The name of `from_pretrained`'s precision argument; diffusers silently ignores the other name."""
TOKENIZER = "tokenizer.json"
NOT_LOADED = "newly initialized"
"""Part of both libraries' warning about missing weights, in all versions."""
FAMILIES = "t2vu_core.families"
SETTINGS_FAULTS = (TypeError, ValueError, ArithmeticError)
"""What a number of a configuration raises where a family computes with it."""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def open_pipeline(pipeline_class: Any, folder: Path, failure: str, *, dtype: torch.dtype, **options: Any) -> Any:
    """The folder's pipeline, in evaluation mode and without gradients; `options` are passed to `from_pretrained`.

    Raises UserError (`failure`, followed by the reason) if a component cannot be loaded or needs its own code.
    """
    check_model_folder(folder, failure)
    with reading(failure):
        components = {name: entry for name, entry in _components(folder).items() if name not in options}
        problem = pipeline_problem(folder, components)
        if problem is not None:
            raise UserError(f"{failure}: {problem}.")
        lack = _lack(folder)
        if lack is not None:
            raise UserError(f"{failure}: {lack}. Download these files again.")
        options |= {"variant": weights_variant(folder, components), "use_safetensors": True, DTYPE: dtype}
        with quiet_libraries() as held_back:
            pipeline = pipeline_class.from_pretrained(folder, local_files_only=True, **options)
    for name, component in pipeline.components.items():
        if isinstance(component, nn.Module):
            unfilled = next((key for key, value in component.state_dict().items() if value.is_meta), None)
            if unfilled is not None:
                raise UserError(f"{failure}: the files of its {name} lack weights ({unfilled}). Download these files again.")
            component.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    _tell_random(pipeline, folder, held_back)
    return pipeline


@contextlib.contextmanager
def failures_blamed(family: Any) -> Iterator[None]:
    """What a library raises in this block while a user's model computes becomes a UserError; a bundled model is ours."""
    try:
        yield
    except Exception as error:
        folder = getattr(family, "folder", None)
        blamed = raised_by(error, *LIBRARIES) or (isinstance(error, SETTINGS_FAULTS) and raised_by(error, FAMILIES))
        fault = isinstance(error, UserError | torch.OutOfMemoryError) or not blamed
        if fault or folder is None or folder.is_relative_to(WEIGHTS):
            raise
        log.info("A library failed.", exc_info=error)
        raise UserError(
            f"The model in {folder} cannot be computed: {first_line(error)}. Its files may not belong together; download them "
            "again, or use another size or precision."
        ) from error


@contextlib.contextmanager
def weights_blamed(family: Any, name: str) -> Iterator[None]:
    """NotFinite in this block becomes a UserError that names the weights which are not finite, if there are any."""
    try:
        yield
    except NotFinite as error:
        broken = next((key for key, value in family.named_weights() if not torch.isfinite(value.float()).all()), None)
        if broken is not None:
            component, _, key = broken.partition(".")
            raise UserError(
                f"The weights of {component} in {name} hold NaN or inf (in {key}): download its files again."
            ) from error
        raise


def _tell_random(pipeline: Any, folder: Path, warnings: Sequence[str]) -> None:
    """transformers initialises missing weights at random and only warns: log which component is affected."""
    random = [COLOUR.sub("", text) for text in warnings if NOT_LOADED in text]
    for name, component in pipeline.components.items():
        if any(re.search(rf"\b{type(component).__name__}\b", text) for text in random):
            log.warning(
                "Files of the %s in %s lack some of its weights: they are random now, and clips may be noise. "
                "Download these files again.",
                name,
                folder,
            )


def _components(folder: Path) -> dict[str, list[Any]]:
    """Library and class of each component in model_index.json."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return {name: entry for name, entry in index.items() if isinstance(entry, list) and entry}


def _lack(folder: Path) -> str | None:
    """Missing files of a text encoder or tokenizer, in words: transformers would use defaults, or not name them."""
    for name, entry in _components(folder).items():
        here, kind = folder / name, getattr(transformers, str(entry[-1]), None)
        if name.startswith("text_encoder") and kind is not None and not (here / "config.json").is_file():
            return f"its {name} lacks config.json"
        files = set((getattr(kind, "vocab_files_names", None) or {}).values())
        others = sorted(files - {TOKENIZER})
        there = [(here / file).is_file() for file in others]
        if files and not ((here / TOKENIZER).is_file() or (there and all(there)) or any(here.glob("*.model"))):
            return f"its {name} lacks {TOKENIZER}" + (f", or {' and '.join(others)} in its place" if others else "")
    return None
