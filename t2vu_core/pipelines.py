"""Opening a diffusers folder: from this disk only, silently, frozen, and without running code that lies in it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from packaging.version import Version
from safetensors import SafetensorError
from torch import nn

from t2vu_core.errors import UserError, first_line
from t2vu_core.quiet import quiet_libraries

log = logging.getLogger(__name__)

DTYPE = "dtype" if Version(diffusers.__version__) >= Version("0.40") else "torch_dtype"
"""How `from_pretrained` calls the precision: diffusers ignores the other name without a word."""
LOAD_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError)
"""What diffusers and transformers raise for damaged settings, weights of other sizes and classes that they do not have."""

TOKENIZER = "tokenizer.json"
NOT_LOADED = "newly initialized"
"""What both libraries write, in all versions, of weights that no file gave."""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def open_pipeline(pipeline_class: Any, folder: Path, failure: str, *, dtype: torch.dtype, **options: Any) -> Any:
    """The folder's pipeline, its networks in evaluation mode without gradients; `options` go to `from_pretrained`.

    Raises UserError, `failure` with the reason behind it, if a component cannot be loaded or brings its own code.
    """
    try:
        code = _own_code(folder)
        if code is not None:
            raise UserError(f"{failure}: it wants to run its own code ({code}), which we never do.")
        lack = _lack(folder)
        if lack is not None:
            raise UserError(f"{failure}: {lack}. Get these files anew.")
        with quiet_libraries() as held_back:
            pipeline = pipeline_class.from_pretrained(folder, local_files_only=True, **{DTYPE: dtype}, **options)
    except UserError:
        raise
    except LOAD_ERRORS as error:
        raise UserError(f"{failure}: {first_line(error)}") from error
    for name, component in pipeline.components.items():
        if isinstance(component, nn.Module):
            unfilled = next((key for key, value in component.state_dict().items() if value.is_meta), None)
            if unfilled is not None:
                raise UserError(f"{failure}: the files of its {name} lack weights ({unfilled}). Get these files anew.")
            component.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    _tell_random(pipeline, folder, held_back)
    return pipeline


def _tell_random(pipeline: Any, folder: Path, warnings: Sequence[str]) -> None:
    """transformers fills weights that the files lack with random numbers, and says so in a warning only."""
    random = [COLOUR.sub("", text) for text in warnings if NOT_LOADED in text]
    for name, component in pipeline.components.items():
        if any(re.search(rf"\b{type(component).__name__}\b", text) for text in random):
            log.warning(
                "Files of the %s in %s lack some of its weights: they are random now, and what is drawn may be noise. "
                "Get these files anew.",
                name,
                folder,
            )


def _components(folder: Path) -> dict[str, list[Any]]:
    """Library and class of every component that model_index.json names."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return {name: entry for name, entry in index.items() if isinstance(entry, list) and entry}


def _own_code(folder: Path) -> str | None:
    """The component's file that older versions of diffusers would import: named in place of a library."""
    for name, entry in _components(folder).items():
        if (folder / name / f"{entry[0]}.py").is_file():
            return f"{name}/{entry[0]}.py"
    return None


def _lack(folder: Path) -> str | None:
    """The text encoder or tokenizer without its files, in words: transformers makes one of defaults, or names neither."""
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
