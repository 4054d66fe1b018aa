"""What the nodes' declarations share: the sockets, the category, and fields that only newer ComfyUI knows."""

import dataclasses
import inspect
from typing import Any

from comfy_api.v0_0_2 import io

CATEGORY = "T2V Unlearning"
MAX_SEED = 2**63 - 1

Model = io.Custom("T2VU_MODEL")
Eraser = io.Custom("T2VU_ERASER")
UnlearnedEncoder = io.Custom("T2VU_ENCODER")


def schema(**fields: Any) -> io.Schema:
    """A Schema in the pack's category; fields that this ComfyUI's Schema does not have are left out."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return io.Schema(category=CATEGORY, **{name: value for name, value in fields.items() if name in known})


def advanced(kind: Any, *args: Any, **options: Any) -> io.Input:
    """An input that ComfyUI 0.10 and newer folds away."""
    if "advanced" in inspect.signature(kind.Input).parameters:
        options["advanced"] = True
    return kind.Input(*args, **options)


def lines(text: str | None) -> list[str]:
    """One entry a line, without the empty ones."""
    return [line.strip() for line in (text or "").splitlines() if line.strip()]
