"""Opening a diffusers folder: from this disk only, silently, frozen, and without running code that lies in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from t2vu_core.errors import UserError, first_line
from t2vu_core.quiet import quiet_libraries

LOAD_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError)
"""What diffusers and transformers raise for damaged settings, weights of other sizes and classes that they do not have."""


def open_pipeline(pipeline_class: Any, folder: Path, failure: str, **options: Any) -> Any:
    """The folder's pipeline, its networks in evaluation mode without gradients; `options` go to `from_pretrained`.

    Raises UserError, `failure` with the reason behind it, if a component cannot be loaded or brings its own code.
    """
    try:
        code = _own_code(folder)
        if code is not None:
            raise UserError(f"{failure}: it wants to run its own code ({code}), which we never do.")
        with quiet_libraries():
            pipeline = pipeline_class.from_pretrained(folder, local_files_only=True, **options)
    except UserError:
        raise
    except LOAD_ERRORS as error:
        raise UserError(f"{failure}: {first_line(error)}") from error
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _own_code(folder: Path) -> str | None:
    """The component's file that older versions of diffusers would import: named in place of a library."""
    for name, entry in json.loads((folder / "model_index.json").read_text(encoding="utf-8")).items():
        if isinstance(entry, list) and entry and (folder / name / f"{entry[0]}.py").is_file():
            return f"{name}/{entry[0]}.py"
    return None
