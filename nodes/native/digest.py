"""A hash of what changes a MODEL's passes: settings, tensors, LoRAs, erasers."""

import hashlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from t2vu_core.erasure import hash_tensors


def digest(value: Any) -> str:
    """SHA-256 over nested values; an object with `describe` or `weights` counts as what they give, any other as its type."""
    return hashlib.sha256(_text(value).encode()).hexdigest()


def _text(value: Any) -> str:
    if isinstance(value, Tensor):
        return hash_tensors([(str(value.dtype), value)])
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{key}:{_text(item)}" for key, item in value.items())) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    if value is None or isinstance(value, str | int | float | bool):
        return repr(value)
    if hasattr(value, "describe"):
        return _text(value.describe())
    return f"{type(value).__name__}{_text(getattr(value, 'weights', None))}"
